"""Doubts the sudden loss of most instances of a service: leases of a whole zone may have expired, or a registry come up empty.

What is lost is kept for a bounded time, in which it may come back; a loss that is real takes effect after that. Proxies send
no request to an instance that does not answer, so keeping one costs little, and losing those that work costs everything.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem

LEAST_LOST = 5  # fewer at once is daily business
DEFAULT_HOLD_S = 30.0

Found = dict[ObjectKey, ConfigObject | None]


class LossGuard:
    """Remembers whose instances are kept, and until when; bounded by the objects there are.

    Attributes:
        losses: how often a loss was doubted.
    """

    def __init__(self, hold: float, clock: Callable[[], float]) -> None:
        """Start with nothing held.

        Args:
            hold: seconds to keep what is lost; 0 takes every loss at once.
            clock: monotonic seconds.
        """
        self.losses = 0
        self._hold = hold
        self._clock = clock
        self._until: dict[ObjectKey, float] = {}
        self._kept: dict[ObjectKey, int] = {}
        self._allowed: set[ObjectKey] = set()

    def __len__(self) -> int:
        """Return how many instances are kept."""
        return sum(self._kept.values())

    def allow(self, keys: Iterable[ObjectKey]) -> None:
        """Take the next loss of these objects at once: somebody asked for it."""
        self._allowed.update(keys)

    def check(self, used: Mapping[ObjectKey, ConfigObject], found: Found) -> Found:
        """Return what to use of changed objects.

        Args:
            used: all objects in their form so far.
            found: the changed ones in their new form; None for one that is gone.
        """
        result = {key: self._entry(key, used.get(key), obj) for key, obj in found.items()}
        for namespace, gone in self._gone_workloads(used, found).items():
            total = sum(key.kind == "WorkloadEntry" and key.namespace == namespace for key in used)
            if self._is_doubtful(len(gone), total):
                for key in gone:
                    result[key] = used[key]
                    self._keep(key, 1)
        self._allowed -= found.keys()
        return result

    def due(self) -> list[ObjectKey]:
        """Return the objects whose loss is believed by now, and forget that it was doubted."""
        now = self._clock()
        due = [key for key, until in self._until.items() if until <= now]
        self.allow(due)
        for key in due:
            self._forget(key)
        return due

    def next_due(self) -> float | None:
        """Return when to call `due`, on the clock."""
        return min(self._until.values(), default=None)

    def problems(self, used: Mapping[ObjectKey, ConfigObject]) -> tuple[Problem, ...]:
        """Say what is kept."""
        return tuple(
            Problem(
                f"{used[key].origin} ({key})",
                "spec.endpoints" if key.kind == "ServiceEntry" else "",
                f"{kept} instances vanished at once: they stay in use for {self._hold:g} s in case they come back; "
                "`isthmusctl apply` or `delete` takes a loss at once",
            )
            for key, kept in self._kept.items()
            if key in used
        )

    def _entry(self, key: ObjectKey, used: ConfigObject | None, new: ConfigObject | None) -> ConfigObject | None:
        if key.kind != "ServiceEntry" or used is None or new is None:
            self._forget(key)
            return new
        before, after = _endpoints(used), _endpoints(new)
        lost = [endpoint for address, endpoint in before.items() if address not in after]
        if key in self._allowed or not self._is_doubtful(len(lost), len(before)):
            self._forget(key)
            return new
        self._keep(key, len(lost))
        spec: Any = type(new.spec)()
        spec.CopyFrom(new.spec)
        spec.endpoints.extend(lost)
        return dataclasses.replace(new, spec=spec)

    def _gone_workloads(self, used: Mapping[ObjectKey, ConfigObject], found: Found) -> dict[str, list[ObjectKey]]:
        gone: dict[str, list[ObjectKey]] = collections.defaultdict(list)
        for key, obj in found.items():
            if key.kind == "WorkloadEntry" and obj is None and key in used and key not in self._allowed:
                gone[key.namespace].append(key)
        return gone

    def _is_doubtful(self, lost: int, total: int) -> bool:
        return self._hold > 0 and lost >= LEAST_LOST and 2 * lost > total

    def _keep(self, key: ObjectKey, instances: int) -> None:
        if key not in self._until:
            self.losses += 1
            self._until[key] = self._clock() + self._hold
        self._kept[key] = instances

    def _forget(self, key: ObjectKey) -> None:
        self._until.pop(key, None)
        self._kept.pop(key, None)


def _endpoints(entry: ConfigObject) -> dict[Any, Any]:
    """Return the endpoints of a ServiceEntry by what tells instances apart."""
    spec: Any = entry.spec
    return {(each.address, tuple(sorted(each.ports.items()))): each for each in spec.endpoints}
