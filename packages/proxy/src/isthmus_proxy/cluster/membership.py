"""What a load balancer balances over, and how it is parted by priority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.host_set import HostSet
from isthmus_proxy.cluster.locality import Locality
from isthmus_proxy.cluster.priority import Loads, distribute

LocalityWeights = Mapping[int, Mapping[Locality, int]]
"""Priority -> locality -> weight."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Endpoints as of ``revision``, which rises with every change of them or of their health.

    ``overprovisioning`` is in per cent; ``locality_weights`` None spreads load without regard to localities.
    """

    endpoints: Sequence[Endpoint] = ()
    locality_weights: LocalityWeights | None = None
    overprovisioning: int = 140
    weighted_priority_health: bool = False
    revision: int = 0


@dataclass(frozen=True, slots=True)
class PrioritySet:
    """Host sets by priority, and the load of each."""

    host_sets: Sequence[HostSet] = field(default_factory=lambda: [HostSet(())])
    loads: Loads = field(default_factory=lambda: Loads((100,), (0,), (False,)))

    def updated(self, members: Membership, panic_threshold: float) -> PrioritySet:
        """Part ``members`` by priority; a host set in which nothing changed is kept as it is."""
        parted = _part(members.endpoints)
        host_sets = []
        for priority, endpoints in enumerate(parted):
            weights = None if members.locality_weights is None else members.locality_weights.get(priority, {})
            host_set = HostSet(endpoints, weights, members.revision)
            if priority < len(self.host_sets) and self.host_sets[priority].same(host_set):
                host_set = self.host_sets[priority]
                host_set.revision = members.revision
            host_sets.append(host_set)
        weighted = members.weighted_priority_health
        census = [host_set.census(weighted=weighted) for host_set in host_sets]
        return PrioritySet(host_sets, distribute(census, members.overprovisioning, panic_threshold))


def _part(endpoints: Sequence[Endpoint]) -> list[Sequence[Endpoint]]:
    highest = max([endpoint.priority for endpoint in endpoints], default=0)
    if highest == 0:
        return [endpoints]
    parted: list[list[Endpoint]] = [[] for _ in range(highest + 1)]
    for endpoint in endpoints:
        parted[endpoint.priority].append(endpoint)
    return list[Sequence[Endpoint]](parted)
