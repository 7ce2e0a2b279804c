"""Refuses YAML that would take the loader down: nested too deeply (libyaml's composer recurses in C), or grown by aliases."""

from __future__ import annotations

from typing import Any

import yaml

from isthmus_proxy.errors import ConfigError

MAX_DEPTH = 200  # twice what the protobuf decoder takes
MAX_NODES = 5_000_000  # after expansion of aliases; 10,000 clusters are some 300,000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_bounds(text: str) -> None:
    """Raise ConfigError, with the line, when ``text`` is beyond a bound; yaml.YAMLError when it is not YAML."""
    walk = _Walk()
    try:
        for event in yaml.parse(text, Loader=_Loader):
            walk.step(event)
    except yaml.scanner.ScannerError as error:  # libyaml has a bound of its own since PyYAML 6.0.4, and looks ahead
        if "nesting depth" not in str(error.problem):
            raise
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"line {line}", "", f"is nested more than {MAX_DEPTH} deep") from error


class _Walk:
    """Counts nodes over the events of a document. ``_open`` has (anchor, nodes so far) of each collection begun."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = [(None, 0)]
        self._sizes: dict[str, int] = {}

    def step(self, event: Any) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, 1))
            if len(self._open) > MAX_DEPTH:
                raise _refusal(event, f"is nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = self._open.pop()
            self._grow(event, anchor, size)
        elif isinstance(event, yaml.ScalarEvent):
            self._grow(event, event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in self._open):
                raise _refusal(event, f"the alias *{event.anchor} stands inside of what it names")
            self._grow(event, None, self._sizes.get(str(event.anchor), 1))

    def _grow(self, event: Any, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size
        outer, nodes = self._open[-1]
        if nodes + size > MAX_NODES:
            raise _refusal(event, f"has more than {MAX_NODES} values; do aliases multiply?")
        self._open[-1] = (outer, nodes + size)


def _refusal(event: Any, reason: str) -> ConfigError:
    return ConfigError(f"line {event.start_mark.line + 1}", "", reason)
