"""One cluster in use: its endpoints, its load balancer, its circuit breakers and its counters."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from isthmus_proxy.cluster.balancer import Random
from isthmus_proxy.cluster.circuit_breaker import PRIORITIES, CircuitBreaker
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.host_set import HostSet
from isthmus_proxy.cluster.model import Assignment, ClusterConfig
from isthmus_proxy.cluster.stats import ClusterStats
from isthmus_proxy.observe.stats import Gauge


@dataclass(frozen=True, slots=True)
class LoadBalancerContext:
    """What one choice must regard. A retry avoids ``previous`` endpoints in up to ``attempts`` draws, then takes any."""

    previous: Container[Endpoint] = ()
    attempts: int = 1


class Cluster:
    """Mutable state of one cluster. ``breakers`` are its circuit breakers, by the number of the routing priority."""

    __slots__ = (
        "_hosts",
        "_random",
        "assignment",
        "breakers",
        "config",
        "endpoints",
        "name",
        "stats",
    )

    def __init__(self, config: ClusterConfig, stats: ClusterStats, random: Random) -> None:
        self.name = config.name
        self.config = config
        self.stats = stats
        self._random = random
        self.breakers = (CircuitBreaker(config.thresholds), CircuitBreaker(config.high_thresholds))
        stats.scope.provide(self.breaker_gauges)
        self.endpoints: dict[tuple[str, int], Endpoint] = {}
        self.assignment = Assignment(config.name)
        self._rebuild()

    def choose(self, context: LoadBalancerContext | None = None) -> Endpoint | None:
        """Return the endpoint for one request, or None when there is no usable one (503, flag UH)."""
        endpoint = self._choose()
        if context is not None:
            for _ in range(context.attempts):
                if endpoint is None or endpoint not in context.previous:
                    break
                endpoint = self._choose()
        return endpoint

    def _choose(self) -> Endpoint | None:
        endpoint, panic = self._hosts.choose()
        if panic:
            self.stats.lb_healthy_panic.value += 1
        if endpoint is None:
            self.stats.upstream_cx_none_healthy.value += 1
        return endpoint

    def update_config(self, config: ClusterConfig) -> None:
        """Take over a new configuration of the same cluster; endpoints, pools and counts stay."""
        self.config = config
        for breaker, limits in zip(self.breakers, (config.thresholds, config.high_thresholds), strict=True):
            breaker.limits = limits
        self._rebuild()

    def breaker_gauges(self) -> Iterator[Gauge]:
        """The gauges of both circuit breakers, as of now."""
        for priority, breaker in zip(PRIORITIES, self.breakers, strict=True):
            yield from breaker.gauges(priority)

    def health_changed(self) -> None:
        """Some endpoint's ``flags`` changed: balance anew."""
        self._rebuild()

    def update_assignment(self, assignment: Assignment) -> list[Endpoint]:
        """Replace the endpoints; an address named again keeps its Endpoint. Return the endpoints that are gone."""
        before, after = self.endpoints, {}
        for locality in assignment.localities:
            for config in locality.endpoints:
                address = (config.host, config.port)
                if address in after:
                    continue
                endpoint = before.get(address)
                if endpoint is None:
                    endpoint = Endpoint(config, locality)
                else:
                    endpoint.update(config, locality)
                after[address] = endpoint
        gone = [endpoint for address, endpoint in before.items() if address not in after]
        for endpoint in gone:
            endpoint.removed = True
        if gone or len(after) != len(before):
            self.stats.membership_change.value += 1
        self.endpoints = after
        self.assignment = assignment
        self._rebuild()
        return gone

    def _rebuild(self) -> None:
        factor = self.assignment.overprovisioning_factor
        self._hosts = HostSet(self.config, list(self.endpoints.values()), factor, self._random)
        census = self._hosts.census
        self.stats.membership_total.value = sum(row.total for row in census)
        self.stats.membership_healthy.value = sum(row.healthy for row in census)
        self.stats.membership_degraded.value = sum(row.degraded for row in census)
        self.stats.membership_excluded.value = sum(row.excluded for row in census)
