"""Localities of one priority, and how load is spread over them by their weights. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus_proxy.cluster.edf import DynamicWeights
from isthmus_proxy.cluster.endpoint import Endpoint

Locality = tuple[str, str, str]
"""Region, zone, sub-zone."""


@dataclass(slots=True)
class LocalityGroup:
    """The endpoints of one locality; ``weight`` is zero where the assignment gives none."""

    name: Locality
    weight: int
    hosts: list[Endpoint] = field(default_factory=list)
    healthy: list[Endpoint] = field(default_factory=list)
    degraded: list[Endpoint] = field(default_factory=list)
    excluded: int = 0

    def of(self, *, degraded: bool) -> list[Endpoint]:
        """The degraded endpoints, or the healthy ones."""
        return self.degraded if degraded else self.healthy

    def effective_weight(self, eligible: Sequence[Endpoint], overprovisioning: int) -> float:
        """The weight as far as the share of ``eligible`` endpoints, times ``overprovisioning`` per cent, supports it."""
        counted = len(self.hosts) - self.excluded
        if counted == 0:
            return 0.0
        return self.weight * min(1.0, overprovisioning / 100.0 * (len(eligible) / counted))


def group_by_locality(hosts: Sequence[Endpoint], weights: Mapping[Locality, int]) -> list[LocalityGroup]:
    """Part ``hosts`` by locality, in the order of the names, as Envoy does."""
    groups: dict[Locality, LocalityGroup] = {}
    for host in hosts:
        group = groups.get(host.locality)
        if group is None:
            group = groups[host.locality] = LocalityGroup(host.locality, weights.get(host.locality, 0))
        group.hosts.append(host)
        group.excluded += host.excluded
        health = host.coarse_health
        if health == "healthy":
            group.healthy.append(host)
        elif health == "degraded":
            group.degraded.append(host)
    return [groups[name] for name in sorted(groups)]


def schedule(
    groups: Sequence[LocalityGroup], *, degraded: bool, overprovisioning: int, start: float
) -> DynamicWeights[int] | None:
    """Return what picks the index of a locality, or None when all effective weights are zero."""
    weights = [
        group.effective_weight(group.degraded if degraded else group.healthy, overprovisioning) for group in groups
    ]
    eligible = [index for index, weight in enumerate(weights) if weight > 0]
    return DynamicWeights(eligible, weights.__getitem__, start) if eligible else None
