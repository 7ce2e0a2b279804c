"""The immutable snapshot that all streams serve from. Every resource is serialised once and its bytes are shared."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.mcp.wire import embedded

DISCOVERY_RESPONSE_RESOURCES = 2
"""Field number of ``resources`` in DiscoveryResponse and in DeltaDiscoveryResponse."""
HASH_DIGITS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotResource:
    """One resource: ``namespace/name``, the hash of its content, and the serialised Any of its MCP Resource."""

    name: str
    version: str
    packed: bytes


class Collection:
    """All resources of one type, sorted by name; its version is the hash of their names and versions."""

    def __init__(self, resources: Mapping[str, SnapshotResource]) -> None:
        self.resources: Mapping[str, SnapshotResource] = {name: resources[name] for name in sorted(resources)}
        digest = hashlib.sha256()
        for one in self.resources.values():
            digest.update(f"{one.name}\0{one.version}\n".encode())
        self.version = digest.hexdigest()[:HASH_DIGITS]

    def changed(self, changes: Mapping[str, SnapshotResource | None]) -> Collection:
        """A collection with some resources replaced, and those that map to None removed."""
        resources = {**self.resources, **changes}
        return Collection({name: one for name, one in resources.items() if one is not None})

    def selected(self, names: frozenset[str] | None) -> Iterable[SnapshotResource]:
        """The resources of these names, in order; None means all."""
        if names is None:
            return self.resources.values()
        return (self.resources[name] for name in sorted(names) if name in self.resources)

    @functools.cached_property
    def body(self) -> bytes:
        """All resources as they stand in a DiscoveryResponse; made once and shared by all streams."""
        return pack_all(self.resources.values())


def pack_all(resources: Iterable[SnapshotResource]) -> bytes:
    """The resources as repeated field ``resources`` of a DiscoveryResponse."""
    return b"".join(embedded(DISCOVERY_RESPONSE_RESOURCES, one.packed) for one in resources)


EMPTY = Collection({})
"""What every type but ServiceEntry holds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served at a moment. ``service_entries`` is None while they are withheld (see the start-up barrier)."""

    service_entries: Collection | None = None
