"""Changed services in, the next collection out: converts only what changed and keeps the last good of what fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.catalog.catalog import ServiceChange
from isthmus_mcp_bridge.catalog.claim_check import Violation
from isthmus_mcp_bridge.convert.resource import to_resource
from isthmus_mcp_bridge.convert.service_entry import Entry, to_service_entry
from isthmus_mcp_bridge.mcp.snapshot import EMPTY, Collection, SnapshotResource

BIG = 256
"""Workloads from which on a service's bytes are kept apart, so that its next entry can take over those that stay the same."""


class Publication:
    """The ServiceEntry collection as it grows; pure."""

    def __init__(self) -> None:
        self._collection = EMPTY
        self._changes: dict[str, SnapshotResource | None] = {}
        self._quarantined: dict[str, tuple[Violation, ...]] = {}
        self._big: dict[str, Entry] = {}

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
                self._big.pop(name, None)
                continue
            entry = to_service_entry(change.merged, self._big.get(name))
            if entry.violations:
                self._quarantined[name] = entry.violations
                refused.append(name)
            else:
                self._changes[name] = resource = to_resource(change.merged, entry)
                self._keep(name, entry, resource)
        return refused

    def _keep(self, name: str, entry: Entry, resource: SnapshotResource) -> None:
        """Keep the entry of a big service; its bytes are those in the resource, in which they stand last."""
        if len(entry.workloads) >= BIG:
            endpoints = memoryview(resource.packed)[len(resource.packed) - len(entry.endpoints) :]
            self._big[name] = dataclasses.replace(entry, endpoints=endpoints)
        else:
            self._big.pop(name, None)

    def collection(self) -> Collection:
        """The collection with everything taken so far; the same object while nothing changed."""
        if self._changes:
            self._collection = self._collection.changed(self._changes)
            self._changes.clear()
        return self._collection
