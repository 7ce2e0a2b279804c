"""The immutable snapshot that all streams serve from. Every resource is serialised once and its bytes are shared.

A collection knows by which names it differs from those shortly before it, so that one change in a hundred thousand
services costs each delta stream a look at one name.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.mcp.wire import embedded

DISCOVERY_RESPONSE_RESOURCES = 2
"""Field number of ``resources`` in DiscoveryResponse and in DeltaDiscoveryResponse."""
HASH_DIGITS = 16
MAX_STEPS = 64
"""How many earlier collections one can be compared with by names alone; a sink that is further behind is compared whole."""
_MODULUS = 1 << 128

Step = tuple[str, frozenset[str]]
"""The version of an earlier collection, and the names in which the next one differs from it."""


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotResource:
    """One resource: ``namespace/name``, the hash of its content, and the serialised Any of its MCP Resource.

    ``sources`` are the registries that claim it, for sinks that want only some.
    """

    name: str
    version: str
    packed: bytes
    sources: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """The namespace, which is the first part of the name."""
        return self.name.partition("/")[0]


class Collection:
    """All resources of one type; its version is a hash of the set of their names, versions and registries."""

    def __init__(
        self, resources: Mapping[str, SnapshotResource], digest: int | None = None, steps: tuple[Step, ...] = ()
    ) -> None:
        """``digest`` is the sum of the resources' digests where it is known, ``steps`` the way here, newest first."""
        self.resources = resources
        self._digest = sum(map(_digest, resources.values())) % _MODULUS if digest is None else digest
        self._steps = steps
        self.version = hashlib.sha256(self._digest.to_bytes(16)).hexdigest()[:HASH_DIGITS]

    def changed(self, changes: Mapping[str, SnapshotResource | None]) -> Collection:
        """A collection with some resources replaced, and those that map to None removed; itself when nothing differs."""
        resources, digest = dict(self.resources), self._digest
        names = set()
        for name, one in changes.items():
            old = resources.get(name)
            if (old and (old.version, old.sources)) == (one and (one.version, one.sources)):
                continue
            names.add(name)
            if old is not None:
                digest -= _digest(old)
                del resources[name]
            if one is not None:
                digest += _digest(one)
                resources[name] = one
        if not names:
            return self
        steps = ((self.version, frozenset(names)), *self._steps[: MAX_STEPS - 1])
        return Collection(resources, digest % _MODULUS, steps)

    def changed_since(self, version: str) -> frozenset[str] | None:
        """The names in which this differs from the collection of that version, and maybe some more; None: unknown."""
        if version == self.version:
            return frozenset()
        names: set[str] = set()
        for before, changed in self._steps:
            names |= changed
            if before == version:
                return frozenset(names)
        return None

    @functools.cached_property
    def ordered(self) -> list[SnapshotResource]:
        """The resources by name."""
        return [self.resources[name] for name in sorted(self.resources)]

    def selected(self, names: frozenset[str] | None) -> Iterable[SnapshotResource]:
        """The resources of these names, in order; None means all."""
        if names is None:
            return self.ordered
        return (self.resources[name] for name in sorted(names) if name in self.resources)

    @functools.cached_property
    def body(self) -> bytes:
        """All resources as they stand in a DiscoveryResponse; made once and shared by all streams."""
        return pack_all(self.ordered)


def pack_all(resources: Iterable[SnapshotResource]) -> bytes:
    """The resources as repeated field ``resources`` of a DiscoveryResponse."""
    return b"".join(embedded(DISCOVERY_RESPONSE_RESOURCES, one.packed) for one in resources)


def _digest(one: SnapshotResource) -> int:
    return int.from_bytes(hashlib.sha256(f"{one.name}\0{one.version}\0{','.join(one.sources)}".encode()).digest()[:16])


EMPTY = Collection({})
"""What every type but ServiceEntry holds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served at a moment. ``service_entries`` is None while they are withheld (see the start-up barrier)."""

    service_entries: Collection | None = None
