"""Entries of a registry as the write-back sees them: what stands there, and what shall stand there. Pure."""

from __future__ import annotations

import dataclasses

from isthmus_mcp_bridge.backsync.marks import Marks
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.model import InstanceKey, SdkService


@dataclasses.dataclass(frozen=True, slots=True)
class SeenEntry:
    """One entry that stands in a registry. ``marks`` None: it has none."""

    name: str
    service: SdkService
    address: Address
    marks: Marks | None = None

    def owned_by(self, cluster: str) -> bool:
        """Whether the cluster wrote it."""
        return self.marks is not None and self.marks.writer == cluster

    @property
    def key(self) -> InstanceKey | None:
        """The instance, if it is marked."""
        return None if self.marks is None else InstanceKey(self.service, self.marks.instance)


@dataclasses.dataclass(frozen=True, slots=True)
class WantedEntry:
    """One entry that shall stand in a registry, and under which name."""

    name: str
    address: Address


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """All entries of one instance; none: it shall have no entry. ``path`` ends with the own cluster."""

    key: InstanceKey
    epoch: int
    path: tuple[str, ...]
    entries: tuple[WantedEntry, ...] = ()
    down: frozenset[Address] = frozenset()
    """Addresses of the instance that are of no use: they do not stay for the overlap."""
