"""Load balancers: priority first, then locality, then the endpoint (Envoy's LoadBalancerBase and what derives from it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from isthmus_proxy.cluster import balancer
from isthmus_proxy.cluster.balancer import Picker, RandomSource
from isthmus_proxy.cluster.bounded_load import BoundedLoad, HashTable
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.edf import DynamicWeights
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.host_set import HostSet, Source
from isthmus_proxy.cluster.lb_policy import Inner, LeastRequest, Maglev, Random, RingHash, RoundRobin
from isthmus_proxy.cluster.locality import Locality, schedule
from isthmus_proxy.cluster.maglev import MaglevTable
from isthmus_proxy.cluster.membership import Membership, PrioritySet
from isthmus_proxy.cluster.priority import Loads
from isthmus_proxy.cluster.retry_priority import loads_after
from isthmus_proxy.cluster.ring_hash import Ring
from isthmus_proxy.cluster.shares import shares
from isthmus_proxy.cluster.slow_start import Now
from isthmus_proxy.cluster.stats import ClusterStats
from isthmus_proxy.cluster.zone_aware import LocalZone, ZonePlan, local_panic, plan_zones


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the load balancers of one cluster share. ``random`` returns numbers in [0, 1), ``now`` seconds.

    ``zone`` is where the proxy is, if anything is routed by that.
    """

    stats: ClusterStats
    random: RandomSource
    now: Now
    panic_threshold: float = 50.0
    zone: LocalZone | None = None


@dataclass(frozen=True, slots=True)
class _Planned:
    """What was planned by zones for these proxies."""

    local: HostSet
    plan: ZonePlan | None


class LoadBalancer(Protocol):
    """Chooses endpoints of a membership that it is told of. ``direct`` chooses without context, where that is all there is to it."""

    direct: Picker | None

    def update(self, members: Membership) -> None:
        """Balance over ``members`` from now on."""
        ...

    def choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        """Return the endpoint for one request, or None when there is none."""
        ...


class PickingLoadBalancer:
    """Round robin, least request and random."""

    __slots__ = ("_overprovisioning", "_plain", "_policy", "_priorities", "_surroundings", "direct")

    def __init__(self, policy: RoundRobin | LeastRequest | Random, surroundings: Surroundings) -> None:
        self._policy = policy
        self._surroundings = surroundings
        self._priorities = PrioritySet()
        self._overprovisioning = 140
        self._plain = False
        self.direct: Picker | None = None

    def update(self, members: Membership) -> None:
        """Balance over ``members`` from now on."""
        self._overprovisioning = members.overprovisioning
        self._priorities = self._priorities.updated(members, self._surroundings.panic_threshold)
        self.direct = None
        host_sets, loads = self._priorities.host_sets, self._priorities.loads
        spread = len(host_sets) > 1 or members.locality_weights is not None or self._surroundings.zone is not None
        self._plain = not spread and loads.healthy == (100,) and not loads.panic[0] and bool(host_sets[0].healthy)

    def choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        """Return the endpoint for one request, or None when there is none."""
        endpoint = self._choose(context)
        if context is not None and context.previous:
            for _ in range(context.attempts):
                if endpoint is None or endpoint not in context.previous:
                    break
                endpoint = self._choose(context)
        return endpoint

    def _choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        if self._plain:
            self.direct = self._picker(self._priorities.host_sets[0], "healthy")
            return self.direct.pick()
        loads = _loads(self._priorities, context)
        priority, degraded = loads.choose(self._surroundings.random())
        host_set = self._priorities.host_sets[priority]
        if loads.panic[priority]:
            self._surroundings.stats.lb_healthy_panic.value += 1
            return None if self._policy.zone_aware.fail_traffic_on_panic else self._pick(host_set, "all")
        if host_set.locality_weights is not None:
            localities = self._localities(host_set, degraded=degraded)
            if localities is not None:
                return self._pick_in_locality(host_set, localities.pick(), degraded=degraded)
        elif self._surroundings.zone is not None and priority == 0:
            return self._pick_by_zone(host_set, self._surroundings.zone, degraded=degraded)
        return self._pick(host_set, "degraded" if degraded else "healthy")

    def _pick_by_zone(self, host_set: HostSet, zone: LocalZone, *, degraded: bool) -> Endpoint | None:
        """Stay in the own zone as far as that is fair; without regard to zones where nothing can be said of it."""
        surroundings, policy = self._surroundings, self._policy.zone_aware
        source: Source = "degraded" if degraded else "healthy"
        plan = self._zone_plan(host_set, zone.hosts(), zone.locality)
        if plan is None or surroundings.random() * 100 >= policy.routing_enabled:
            return self._pick(host_set, source)
        scope = surroundings.stats.scope
        if local_panic(zone.hosts(), surroundings.panic_threshold):
            scope.counter("lb_local_cluster_not_ok").value += 1
            return None if policy.fail_traffic_on_panic else self._pick(host_set, source)
        index = plan.choose(surroundings.random, scope)
        group = host_set.localities()[index]
        return self._pick_in_locality(host_set, index, degraded=degraded) if group.of(degraded=degraded) else None

    def _zone_plan(self, host_set: HostSet, local: HostSet, locality: Locality) -> ZonePlan | None:
        """The plan, made anew when the endpoints or the proxies changed."""
        known = host_set.made.get("zones")
        if not isinstance(known, _Planned) or known.local is not local:
            plan = plan_zones(self._policy.zone_aware, local, locality, host_set, self._surroundings.stats.scope)
            known = host_set.made["zones"] = _Planned(local, plan)
        return known.plan

    def _pick(self, host_set: HostSet, source: Source) -> Endpoint | None:
        return self._picker(host_set, source).pick() if host_set.of(source) else None

    def _picker(self, host_set: HostSet, source: Source) -> Picker:
        picker = host_set.made.get(source)
        if picker is None:
            picker = host_set.made[source] = self._build(host_set.of(source))
        return cast("Picker", picker)

    def _pick_in_locality(self, host_set: HostSet, index: int, *, degraded: bool) -> Endpoint:
        picker = host_set.made.get((index, degraded))
        if picker is None:
            group = host_set.localities()[index]
            picker = host_set.made[index, degraded] = self._build(group.of(degraded=degraded))
        return cast("Picker", picker).pick()

    def _build(self, endpoints: object) -> Picker:
        surroundings = self._surroundings
        return balancer.build(self._policy, endpoints, surroundings.random, surroundings.now)  # type: ignore[arg-type]

    def _localities(self, host_set: HostSet, *, degraded: bool) -> DynamicWeights[int] | None:
        key = ("localities", degraded, self._overprovisioning)
        if key not in host_set.made:
            start, factor = self._surroundings.random(), self._overprovisioning
            groups = host_set.localities()
            host_set.made[key] = schedule(groups, degraded=degraded, overprovisioning=factor, start=start)
        return cast("DynamicWeights[int] | None", host_set.made[key])


class HashingLoadBalancer:
    """Ring hash and maglev. Tables are built when first needed, one for each priority in use."""

    __slots__ = ("_policy", "_priorities", "_surroundings", "direct")

    def __init__(self, policy: RingHash | Maglev, surroundings: Surroundings) -> None:
        self._policy = policy
        self._surroundings = surroundings
        self._priorities = PrioritySet()
        self.direct: Picker | None = None

    def update(self, members: Membership) -> None:
        """Balance over ``members`` from now on."""
        self._priorities = self._priorities.updated(members, self._surroundings.panic_threshold)

    def choose(self, context: LoadBalancerContext | None) -> Endpoint | None:
        """Return the endpoint of the context's hash key, or None when there is none. Without a key one is drawn."""
        key = None if context is None else context.hash_key
        if key is None:
            key = int(self._surroundings.random() * 4294967296) << 32 | int(self._surroundings.random() * 4294967296)
        loads = _loads(self._priorities, context)
        priority, _ = loads.choose_by_hash(key)
        panic = loads.panic[priority]
        if panic:
            self._surroundings.stats.lb_healthy_panic.value += 1
        table = self._table(self._priorities.host_sets[priority], panic=panic)
        if table is None:
            return None
        endpoint = table.choose(key, 0)
        if context is not None and context.previous:
            for attempt in range(1, context.attempts + 1):
                if endpoint not in context.previous:
                    break
                endpoint = table.choose(key, attempt)
        return endpoint

    def _table(self, host_set: HostSet, *, panic: bool) -> HashTable | None:
        if panic not in host_set.made:
            host_set.made[panic] = self._build(host_set, panic=panic)
        return cast("HashTable | None", host_set.made[panic])

    def _build(self, host_set: HostSet, *, panic: bool) -> HashTable | None:
        policy, stats = self._policy, self._surroundings.stats
        weighted = shares(host_set, panic=panic)
        if not weighted:
            return None
        table: Ring | MaglevTable
        if isinstance(policy, RingHash):
            table = Ring(weighted, policy)
            stats.scope.gauge("ring_hash_lb.size").value = len(table.hashes)
            stats.scope.gauge("ring_hash_lb.min_hashes_per_host").value = table.minimum
            stats.scope.gauge("ring_hash_lb.max_hashes_per_host").value = table.maximum
        else:
            table = MaglevTable(weighted, policy)
            stats.scope.gauge("maglev_lb.min_entries_per_host").value = table.minimum
            stats.scope.gauge("maglev_lb.max_entries_per_host").value = table.maximum
        if policy.balance_factor:
            return BoundedLoad(table, weighted, policy.balance_factor, lambda: stats.upstream_rq_active.value)
        return table


def _loads(priorities: PrioritySet, context: LoadBalancerContext | None) -> Loads:
    if context is None or not context.priority_frequency:
        return priorities.loads
    return loads_after(priorities.loads, context.attempted, context.priority_frequency)


def make_load_balancer(policy: Inner, surroundings: Surroundings) -> PickingLoadBalancer | HashingLoadBalancer:
    """Make the load balancer of ``policy``, over nothing yet."""
    if isinstance(policy, (RingHash, Maglev)):
        return HashingLoadBalancer(policy, surroundings)
    return PickingLoadBalancer(policy, surroundings)
