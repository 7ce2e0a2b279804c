"""Zone-aware routing: how much of the requests stays in the proxy's own zone, by Envoy's numbers (ZoneAwareLoadBalancerBase).

The proxies of a mesh share the load of each zone fairly if every one of them keeps to this: with as great a share of the
endpoints in its zone as of the proxies, all stays there; with less, what fits stays and the rest goes to zones that have more
endpoints than proxies. Pure but for counters; shares are whole ten-thousandths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isthmus_proxy.cluster.balancer import RandomSource
from isthmus_proxy.cluster.cluster_members import ClusterMembers
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.host_set import HostSet
from isthmus_proxy.cluster.lb_policy import ZoneAware
from isthmus_proxy.cluster.locality import Locality, LocalityGroup
from isthmus_proxy.cluster.priority import in_panic
from isthmus_proxy.observe.stats_scope import StatsScope

WHOLE = 10_000


class LocalZone:
    """Where this proxy is, and the cluster of proxies to which it belongs (``cluster_manager.local_cluster_name``)."""

    __slots__ = ("_cluster", "_hosts", "_revision", "locality")

    def __init__(self, locality: Locality, cluster: Callable[[], ClusterMembers | None]) -> None:
        self.locality = locality
        self._cluster = cluster
        self._revision = -1
        self._hosts = HostSet(())

    def hosts(self) -> HostSet:
        """The proxies as they are now; the same set until something changes."""
        cluster = self._cluster()
        if cluster is not None and cluster.revision != self._revision:
            self._revision = cluster.revision
            self._hosts = HostSet([host for host in cluster.endpoints.values() if host.priority == 0])
        return self._hosts


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """What becomes of requests. ``order`` are the localities, the own first if there is one, as indexes into the host set's.

    ``kept`` is the share that stays in the own zone; ``residual`` what other localities can take, added up.
    """

    own: bool
    kept: int
    order: tuple[int, ...]
    residual: tuple[int, ...] = field(default=())

    @property
    def direct(self) -> bool:
        """Whether everything stays."""
        return self.own and not self.residual

    def choose(self, random: RandomSource, scope: StatsScope) -> int:
        """The index of the locality for one request."""
        if self.direct:
            scope.counter("lb_zone_routing_all_directly").value += 1
            return self.order[0]
        if self.own and int(random() * WHOLE) < self.kept:
            scope.counter("lb_zone_routing_sampled").value += 1
            return self.order[0]
        scope.counter("lb_zone_routing_cross_zone").value += 1
        most = self.residual[-1]
        if not most:
            scope.counter("lb_zone_no_capacity_left").value += 1
            return self.order[int(random() * len(self.order))]
        mark = int(random() * most)
        return next(index for index, reached in zip(self.order, self.residual, strict=True) if mark < reached)


def plan_zones(
    policy: ZoneAware, local: HostSet, locality: Locality, hosts: HostSet, scope: StatsScope
) -> ZonePlan | None:
    """The plan for a proxy of ``locality`` among those of ``local``; None if zones do not count."""
    scope.counter("lb_recalculate_zone_structures").value += 1
    upstream, proxies = hosts.localities(), local.localities()
    if len(upstream) < 2 or len(proxies) < 2:
        return None
    if not any(group.name == locality for group in proxies):
        scope.counter("lb_local_cluster_not_ok").value += 1
        return None
    if len(hosts.healthy) < policy.min_cluster_size:
        scope.counter("lb_zone_cluster_too_small").value += 1
        return None
    return _plan(_shares(proxies, policy), _shares(upstream, policy), [group.name for group in upstream], locality)


def _plan(
    proxies: dict[Locality, int], endpoints: dict[Locality, int], names: Sequence[Locality], locality: Locality
) -> ZonePlan:
    own = locality in names
    order = sorted(range(len(names)), key=lambda index: names[index] != locality)
    there, here = endpoints.get(locality, 0), proxies.get(locality, 0)
    if own and there and there >= here:
        return ZonePlan(own=True, kept=WHOLE, order=tuple(order))
    residual, reached = [], 0
    for index in order:
        name = names[index]
        if name != locality:
            reached += max(0, endpoints.get(name, 0) - proxies.get(name, 0))
        residual.append(reached)
    return ZonePlan(own, there * WHOLE // here if own and here else 0, tuple(order), tuple(residual))


def _shares(groups: Sequence[LocalityGroup], policy: ZoneAware) -> dict[Locality, int]:
    """What share of all healthy hosts each locality has."""
    counts = {group.name: _count(group.healthy, policy) for group in groups}
    total = sum(counts.values())
    return {name: WHOLE * count // total if total else 0 for name, count in counts.items()}


def _count(hosts: Sequence[Endpoint], policy: ZoneAware) -> int:
    return sum([host.weight for host in hosts]) if policy.by_weight else len(hosts)


def local_panic(local: HostSet, panic_threshold: float) -> bool:
    """Whether so many proxies are unhealthy that what is known of them says nothing."""
    return in_panic(local.census(weighted=False), panic_threshold)
