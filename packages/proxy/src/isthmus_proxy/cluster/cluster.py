"""One cluster in use: its endpoints, its load balancer, its circuit breakers and its counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from isthmus_proxy.cluster.balancer import RandomSource
from isthmus_proxy.cluster.circuit_breaker import PRIORITIES, CircuitBreaker
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import (
    DEGRADED,
    EXCLUDED,
    FAILED_ACTIVE_HC,
    FAILED_EDS_HEALTH,
    PENDING_DYNAMIC_REMOVAL,
    UNHEALTHY,
)
from isthmus_proxy.cluster.lb_policy import LbPolicy, Subset
from isthmus_proxy.cluster.load_balancer import LoadBalancer, Surroundings, make_load_balancer
from isthmus_proxy.cluster.locality import Locality
from isthmus_proxy.cluster.membership import LocalityWeights, Membership
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.cluster.original_dst import Destination, OriginalDstLoadBalancer
from isthmus_proxy.cluster.slow_start import Now
from isthmus_proxy.cluster.stats import ClusterStats
from isthmus_proxy.cluster.subset import SubsetLoadBalancer
from isthmus_proxy.cluster.zone_aware import LocalZone
from isthmus_proxy.observe.stats import Gauge

_ANYWHERE = LocalityEndpoints(())
_DISCOVERED = ("EDS", "STRICT_DNS")

MembershipObserver = Callable[[list[Endpoint], list[Endpoint]], None]


class Cluster:
    """Mutable state of one cluster. ``breakers`` are its circuit breakers, by the number of the routing priority.

    ``zone`` is where the proxy is, if requests are routed by that.
    """

    __slots__ = (
        "_balancer",
        "_now",
        "_observers",
        "_order",
        "_random",
        "_revision",
        "_stale",
        "_zone",
        "assignment",
        "breakers",
        "config",
        "endpoints",
        "name",
        "stats",
    )

    def __init__(
        self,
        config: ClusterConfig,
        stats: ClusterStats,
        random: RandomSource,
        now: Now,
        zone: LocalZone | None = None,
    ) -> None:
        self.name = config.name
        self.config = config
        self.stats = stats
        self._random = random
        self.breakers = (CircuitBreaker(config.thresholds), CircuitBreaker(config.high_thresholds))
        stats.scope.provide(self.breaker_gauges)
        self._now = now
        self._zone = zone
        self._revision = 0
        self._stale = True
        self.endpoints: dict[tuple[str, int], Endpoint] = {}
        self._order: tuple[Endpoint, ...] = ()
        self.assignment = Assignment(config.name)
        self._observers: list[MembershipObserver] = []
        self._balancer = self._make_balancer()
        self._count()

    def choose(self, context: LoadBalancerContext | None = None) -> Endpoint | None:
        """Return the endpoint for one request, or None when there is no usable one (503, flag UH)."""
        if self._stale:
            self._refresh()
        balancer = self._balancer
        if context is None and balancer.direct is not None:
            return balancer.direct.pick()
        endpoint = balancer.choose(context)
        if endpoint is None:
            self.stats.upstream_cx_none_healthy.value += 1
        return endpoint

    def update_config(self, config: ClusterConfig) -> None:
        """Take over a new configuration of the same cluster; endpoints, pools and counts stay."""
        balanced_alike = (config.lb_policy, config.healthy_panic_threshold, config.original_dst) == (
            self.config.lb_policy,
            self.config.healthy_panic_threshold,
            self.config.original_dst,
        )
        self.config = config
        for breaker, limits in zip(self.breakers, (config.thresholds, config.high_thresholds), strict=True):
            breaker.limits = limits
        if not balanced_alike:
            self._balancer = self._make_balancer()
            self._stale = True

    def breaker_gauges(self) -> Iterator[Gauge]:
        """The gauges of both circuit breakers, as of now."""
        for priority, breaker in zip(PRIORITIES, self.breakers, strict=True):
            yield from breaker.gauges(priority)

    @property
    def revision(self) -> int:
        """Rises with every change of the endpoints and of their health."""
        return self._revision

    def observe(self, observer: MembershipObserver) -> None:
        """Call ``observer(added, gone)`` with each assignment, before it is balanced."""
        self._observers.append(observer)

    def forget(self, observer: MembershipObserver) -> None:
        """Call ``observer`` no more."""
        self._observers.remove(observer)

    def health_changed(self, endpoint: Endpoint | None = None) -> None:
        """The ``flags`` of ``endpoint``, or of any when it is None, changed: balance anew, once the next request comes."""
        self._revision += 1
        self._stale = True
        self._count()

    def update_assignment(self, assignment: Assignment, *, removed: bool = False) -> list[Endpoint]:
        """Replace the endpoints; an address named again keeps its Endpoint. Return the endpoints that are gone.

        Those that pass active health checks stay although discovery names them no more, until they fail
        (``ignore_health_on_host_removal``), unless the cluster itself is ``removed``.
        """
        before = self.endpoints
        after: dict[tuple[str, int], Endpoint] = {}
        self._revision += 1
        for locality in assignment.localities:
            for config in locality.endpoints:
                address = (config.host, config.port)
                if address not in after:
                    after[address] = self._endpoint(before.get(address), config, locality)
        if not removed and self._stabilised:
            for address, endpoint in before.items():
                if address not in after and _passes_checks(endpoint):
                    endpoint.flags |= PENDING_DYNAMIC_REMOVAL
                    after[address] = endpoint
        self.assignment = assignment
        return self._replace(after)

    @property
    def _stabilised(self) -> bool:
        """Whether endpoints that pass active health checks outlast discovery's word."""
        config = self.config
        return (
            config.health_check is not None
            and not config.ignore_health_on_host_removal
            and config.discovery in _DISCOVERED
        )

    def drop(self, endpoint: Endpoint) -> list[Endpoint]:
        """Let ``endpoint`` go, which discovery names no more and which now fails its checks. Return the endpoints that are gone."""
        self._revision += 1
        return self._replace({address: each for address, each in self.endpoints.items() if each is not endpoint})

    def _add(self, destination: Destination) -> Endpoint:
        """Make an endpoint for what goes to ``destination`` (ORIGINAL_DST)."""
        config = EndpointConfig(*destination)
        endpoint = self._endpoint(None, config, _ANYWHERE)
        self.endpoints[destination] = endpoint
        for observer in self._observers:
            observer([endpoint], [])
        self.stats.membership_change.value += 1
        self._members_changed()
        return endpoint

    def clean_up(self) -> list[Endpoint]:
        """Let the endpoints go that an ORIGINAL_DST cluster has not used for an interval. Return them."""
        balancer = self._balancer
        unused = set(balancer.unused()) if isinstance(balancer, OriginalDstLoadBalancer) else set()
        if not unused:
            return []
        self._revision += 1
        return self._replace({address: each for address, each in self.endpoints.items() if each not in unused})

    def _members_changed(self) -> None:
        self._order = tuple(self.endpoints.values())
        self._stale = True
        self._count()

    def _replace(self, after: dict[tuple[str, int], Endpoint]) -> list[Endpoint]:
        before = self.endpoints
        gone = [endpoint for address, endpoint in before.items() if address not in after]
        for endpoint in gone:
            endpoint.removed = True
        for observer in self._observers:
            observer([endpoint for address, endpoint in after.items() if address not in before], gone)
        if gone or len(after) != len(before):
            self.stats.membership_change.value += 1
        self.endpoints = after
        self._members_changed()
        return gone

    def _endpoint(self, known: Endpoint | None, config: EndpointConfig, locality: LocalityEndpoints) -> Endpoint:
        if known is None:
            known = Endpoint(config, locality)
            known.healthy_since = self._now()
            known.revision = self._revision
            return known
        known.flags &= ~PENDING_DYNAMIC_REMOVAL
        if known.config != config or known.priority != locality.priority or known.locality != _place(locality):
            if not _balanced_alike(known, config, locality):
                known.revision = self._revision
            known.update(config, locality)
        return known

    def _make_balancer(self) -> LoadBalancer:
        surroundings = Surroundings(
            self.stats, self._random, self._now, self.config.healthy_panic_threshold, self._zone
        )
        if self.config.original_dst is not None:
            overflow = self.stats.scope.counter("original_dst_host_overflow")
            return OriginalDstLoadBalancer(self.config.original_dst, self._add, overflow)
        policy = self.config.lb_policy
        if isinstance(policy, Subset):
            return SubsetLoadBalancer(policy, surroundings)
        return make_load_balancer(policy, surroundings)

    def _refresh(self) -> None:
        self._stale = False
        assignment = self.assignment
        weights = _locality_weights(assignment) if _by_locality(self.config.lb_policy) else None
        factor, weighted = assignment.overprovisioning_factor, assignment.weighted_priority_health
        self._balancer.update(Membership(self._order, weights, factor, weighted, self._revision))

    def _count(self) -> None:
        # Few combinations of flags occur, however many endpoints there are.
        counts = Counter([endpoint.flags for endpoint in self._order]).items()
        stats = self.stats
        stats.membership_total.value = len(self._order)
        stats.membership_healthy.value = sum(count for flags, count in counts if not flags & (UNHEALTHY | DEGRADED))
        stats.membership_degraded.value = sum(
            count for flags, count in counts if flags & DEGRADED and not flags & UNHEALTHY
        )
        stats.membership_excluded.value = sum(count for flags, count in counts if flags & EXCLUDED)


def _passes_checks(endpoint: Endpoint) -> bool:
    return not endpoint.flags & (FAILED_ACTIVE_HC | FAILED_EDS_HEALTH) and not endpoint.config.health_check.disabled


def _place(locality: LocalityEndpoints) -> Locality:
    return locality.region, locality.zone, locality.sub_zone


def _balanced_alike(endpoint: Endpoint, config: EndpointConfig, locality: LocalityEndpoints) -> bool:
    """Whether an update changes nothing that tables of balancers are made of. Health is looked at apart."""
    return (endpoint.weight, endpoint.config.hostname, endpoint.config.metadata, endpoint.locality) == (
        config.weight,
        config.hostname,
        config.metadata,
        _place(locality),
    )


def _by_locality(policy: LbPolicy) -> bool:
    return _by_locality(policy.inner) if isinstance(policy, Subset) else policy.locality_weighted


def _locality_weights(assignment: Assignment) -> LocalityWeights:
    weights: dict[int, dict[Locality, int]] = {}
    for group in assignment.localities:
        weights.setdefault(group.priority, {})[group.region, group.zone, group.sub_zone] = group.weight
    return weights
