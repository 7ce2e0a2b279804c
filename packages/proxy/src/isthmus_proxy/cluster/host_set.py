"""The endpoints of one assignment, by priority and health, with one balancer for each group that is in use."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.cluster import balancer
from isthmus_proxy.cluster.balancer import Balancer, Random
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.cluster.priority import Census, distribute


class HostSet:
    """Immutable once built, but for the balancers inside, which are made when first needed."""

    __slots__ = ("_balancers", "_config", "_groups", "_random", "census", "endpoints", "loads")

    def __init__(
        self, config: ClusterConfig, endpoints: Sequence[Endpoint], overprovisioning: int, random: Random
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._config = config
        self._random = random
        priorities = max((endpoint.priority for endpoint in endpoints), default=0) + 1
        self._groups = [_group(priority, self.endpoints) for priority in range(priorities)]
        self._balancers: dict[tuple[int, str], Balancer] = {}
        self.census = [_count(group) for group in self._groups]
        self.loads = distribute(self.census, overprovisioning, config.healthy_panic_threshold)

    def choose(self) -> tuple[Endpoint | None, bool]:
        """Return the endpoint for one request, if there is any, and whether panic made all endpoints eligible."""
        if len(self._groups) == 1 and self.loads.healthy[0] == 100:
            priority, degraded = 0, False
        else:
            priority, degraded = self.loads.choose(self._random())
        panic = self.loads.panic[priority]
        source = "all" if panic else "degraded" if degraded else "healthy"
        group = self._groups[priority][source]
        if not group:
            return None, panic
        found = self._balancers.get((priority, source))
        if found is None:
            found = self._balancers[priority, source] = balancer.build(self._config, group, self._random)
        return found.pick(), panic


def _group(priority: int, endpoints: Sequence[Endpoint]) -> dict[str, tuple[Endpoint, ...]]:
    here = tuple(endpoint for endpoint in endpoints if endpoint.priority == priority)
    return {
        "all": here,
        "healthy": tuple(e for e in here if e.coarse_health == "healthy"),
        "degraded": tuple(e for e in here if e.coarse_health == "degraded"),
    }


def _count(group: dict[str, tuple[Endpoint, ...]]) -> Census:
    excluded = sum(endpoint.excluded for endpoint in group["all"])
    return Census(len(group["all"]), len(group["healthy"]), len(group["degraded"]), excluded)
