"""Changed services in, the next collection out: converts only what changed and keeps the last good of what fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.catalog.catalog import ServiceChange
from isthmus_mcp_bridge.catalog.claim_check import Violation
from isthmus_mcp_bridge.convert.preflight import entry_violations
from isthmus_mcp_bridge.convert.resource import to_resource
from isthmus_mcp_bridge.convert.service_entry import to_service_entry
from isthmus_mcp_bridge.mcp.snapshot import EMPTY, Collection, SnapshotResource


class Publication:
    """The ServiceEntry collection as it grows; pure."""

    def __init__(self) -> None:
        self._collection = EMPTY
        self._changes: dict[str, SnapshotResource | None] = {}
        self._quarantined: dict[str, tuple[Violation, ...]] = {}

    @property
    def quarantined(self) -> Mapping[str, tuple[Violation, ...]]:
        """Services (``namespace/host``) whose newest form breaks a rule and is therefore not published."""
        return self._quarantined

    def take(self, changes: Iterable[ServiceChange]) -> list[str]:
        """Convert changed services; ``collection`` will have them. Returns the names of those that break a rule."""
        refused = []
        for change in changes:
            name = change.key.name
            self._quarantined.pop(name, None)
            if change.merged is None:
                self._changes[name] = None
                continue
            entry = to_service_entry(change.merged)
            broken = entry_violations(entry)
            if broken:
                self._quarantined[name] = broken
                refused.append(name)
            else:
                self._changes[name] = to_resource(change.merged, entry)
        return refused

    def collection(self) -> Collection:
        """The collection with everything taken so far; the same object while nothing changed."""
        if self._changes:
            self._collection = self._collection.changed(self._changes)
            self._changes.clear()
        return self._collection
