"""The policies as last heard: bad ones keep their last good form, and all stay while their source is away. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_mcp_bridge.dualmode.policy import Policy, PolicyError, read_policy

MAX_POLICIES = 100_000
MAX_PROBLEMS = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One policy as its source has it: ``namespace/name``, the source's version, and the message."""

    name: str
    version: str
    spec: DualMode


class PolicyBook:
    """Keeps the policies of one source, and how long ago it was heard (seconds since the Unix epoch)."""

    def __init__(self, source: str) -> None:
        """``source`` is how messages name it."""
        self.source = source
        self.live = False
        self.error = "not heard yet"
        self.heard_at: float | None = None
        self.problems: tuple[str, ...] = ()
        self._known: dict[str, tuple[Item, Policy]] = {}
        self._policies: tuple[Policy, ...] = ()

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The usable policies, sorted by name."""
        return self._policies

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of the policies in use, by name."""
        return {name: item.version for name, (item, _) in sorted(self._known.items())}

    def age_s(self, now: float) -> float | None:
        """How old what is known is; 0 while the source is heard, None when it never was."""
        if self.live:
            return 0.0
        return None if self.heard_at is None else max(0.0, now - self.heard_at)

    def replace(self, items: Iterable[Item], now: float) -> tuple[str, ...]:
        """Take everything that the source has. Returns what is wrong with it; a bad policy keeps its last good form."""
        found: dict[str, tuple[Item, Policy]] = {}
        problems: list[str] = []
        for item in items:
            if len(found) >= MAX_POLICIES:
                problems.append(f"{item.name}: is left out: there are more than {MAX_POLICIES} policies")
                break
            try:
                found[item.name] = (item, _read(item))
            except PolicyError as error:
                last = self._known.get(item.name)
                kept = "the policy is left out" if last is None else "its last good form stays"
                problems.append(f"{item.name}: {error}; {kept}")
                if last is not None:
                    found[item.name] = last
        self._known = found
        self._policies = tuple(policy for _, (_, policy) in sorted(found.items()))
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.heard(now)
        return self.problems

    def heard(self, now: float) -> None:
        """The source is there."""
        self.live, self.error, self.heard_at = True, "", now

    def lost(self, error: str, now: float) -> None:
        """The source is away; what is known stays."""
        if self.live:
            self.heard_at = now
        self.live, self.error = False, error

    def saved(self) -> list[Any]:
        """What is kept over a restart: when it was heard, and the policies."""
        items = [[item.name, item.version, json_format.MessageToDict(item.spec)] for item, _ in self._known.values()]
        return ["policies", self.heard_at, sorted(items, key=lambda each: str(each[0]))]

    def restore(self, saved: Any) -> None:
        """Take what was kept. Raises ValueError, TypeError or PolicyError when it is not that."""
        kind, heard_at, items = saved
        if kind != "policies" or not isinstance(heard_at, int | float):
            raise ValueError("holds no policies")
        try:
            read = [Item(name, version, json_format.ParseDict(spec, DualMode())) for name, version, spec in items]
        except json_format.ParseError as error:
            raise ValueError(str(error)) from error
        self.replace(read, float(heard_at))
        self.lost("not heard since the start", float(heard_at))


def _read(item: Item) -> Policy:
    namespace, slash, name = item.name.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise PolicyError("the name is not namespace/name")
    return read_policy(namespace, name, item.spec)
