"""The endpoints of one priority, by health, as of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import DEGRADED, UNHEALTHY
from isthmus_proxy.cluster.locality import Locality, LocalityGroup, group_by_locality
from isthmus_proxy.cluster.priority import Census

Source = Literal["all", "healthy", "degraded"]


class HostSet:
    """Immutable. ``made`` is where its load balancer keeps what it has built of it; a set that did not change keeps that.

    ``locality_weights`` are those
    of the assignment, where a locality without one has weight zero; None if load is not spread by them. ``revision`` is that of the
    cluster for which the set was last found up to date.
    """

    __slots__ = ("_groups", "degraded", "excluded", "healthy", "hosts", "locality_weights", "made", "revision")

    def __init__(
        self, hosts: Sequence[Endpoint], locality_weights: Mapping[Locality, int] | None = None, revision: int = 0
    ) -> None:
        self.hosts = hosts
        flagged = [host for host in hosts if host.flags]
        self.healthy: Sequence[Endpoint] = hosts
        if flagged:
            self.healthy = [host for host in hosts if not host.flags & (UNHEALTHY | DEGRADED)]
        self.degraded: Sequence[Endpoint] = [host for host in flagged if host.coarse_health == "degraded"]
        self.excluded = sum([host.excluded for host in flagged])
        self.locality_weights = locality_weights
        self.revision = revision
        self.made: dict[object, object] = {}
        self._groups: list[LocalityGroup] | None = None

    def same(self, other: HostSet) -> bool:
        """Whether ``other``, newer, has the same endpoints in the same health, none of which changed since this was built."""
        return (
            self.hosts == other.hosts
            and self.healthy == other.healthy
            and self.degraded == other.degraded
            and self.excluded == other.excluded
            and self.locality_weights == other.locality_weights
            and all(host.revision <= self.revision for host in self.hosts)
        )

    def of(self, source: Source) -> Sequence[Endpoint]:
        """The endpoints of ``source``."""
        return self.hosts if source == "all" else self.healthy if source == "healthy" else self.degraded

    def localities(self) -> list[LocalityGroup]:
        """The endpoints by locality, in the order of region, zone and sub-zone."""
        groups = self._groups
        if groups is None:
            groups = self._groups = group_by_locality(self.hosts, self.locality_weights or {})
        return groups

    def census(self, *, weighted: bool) -> Census:
        """Count the endpoints; ``weighted`` counts each as often as its weight says (weighted_priority_health)."""
        if not weighted:
            return Census(len(self.hosts), len(self.healthy), len(self.degraded), self.excluded)
        excluded = sum([host.weight for host in self.hosts if host.excluded])
        return Census(_weight(self.hosts), _weight(self.healthy), _weight(self.degraded), excluded)


def _weight(hosts: Sequence[Endpoint]) -> int:
    return sum([host.weight for host in hosts])
