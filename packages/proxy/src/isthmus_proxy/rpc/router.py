"""Where requests go: the cluster of the plan, an endpoint of it, a connection to that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.route.model import ClusterWeight
from isthmus_proxy.route.table import pick
from isthmus_proxy.rpc.burst import Burst
from isthmus_proxy.rpc.plan import RpcPlan
from isthmus_proxy.rpc.pool import RpcPool
from isthmus_proxy.rpc.upstream_connection import RpcUpstreamConnection

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings
    from isthmus_proxy.rpc.requester import RpcRequester
    from isthmus_proxy.rpc.rpc_proxy import RpcProxy

NO_CLUSTER = "cluster_not_found"
NO_ENDPOINT = "no_healthy_upstream"
OVERFLOW = "overflow"


class RpcRouter:
    """See the module. ``failure`` says why the last ``choose`` gave nothing."""

    __slots__ = ("_clusters", "_full", "_pools", "_proxy", "_random", "_runtime", "failure")

    def __init__(self, proxy: RpcProxy, surroundings: Surroundings) -> None:
        self._proxy = proxy
        self._clusters = surroundings.clusters
        self._random = surroundings.random
        self._runtime = surroundings.runtime
        self._pools: dict[tuple[Endpoint, int], RpcPool] = {}
        self._full: RpcPool | None = None  # which had no connection, where ``failure`` is OVERFLOW
        self.failure = ""

    def choose(
        self,
        plan: RpcPlan,
        downstream: RpcRequester,
        form: int,
        avoiding: LoadBalancerContext | None = None,
        weight: ClusterWeight | None = None,
    ) -> RpcUpstreamConnection | None:
        """The connection for one request, or None. ``weight`` is its cluster, if that is drawn already."""
        action = plan.action
        if action is None:
            return None
        if weight is None:
            weight = self.target(plan)
        if weight is None:
            return None
        cluster = self._clusters.get(plan.cluster_name(weight))
        if cluster is None:
            self._proxy.stats.no_cluster.value += 1
            self.failure = NO_CLUSTER
            return None
        context = avoiding
        if not plan.plain:
            own = plan.context(weight)
            if own is not None:
                context = own if avoiding is None else replace(avoiding, hash_key=own.hash_key, criteria=own.criteria)
        endpoint = cluster.choose(context)
        if endpoint is None:
            self.failure = NO_ENDPOINT
            return None
        pool = self._pool(cluster, endpoint, action.priority)
        upstream = pool.pick(downstream, form)
        if upstream is None:
            self.failure = OVERFLOW
            self._full = pool
        return upstream

    def target(self, plan: RpcPlan) -> ClusterWeight | None:
        """Draw the cluster of one request; None if it goes to none."""
        if plan.weight is not None or plan.action is None:
            return plan.weight
        return pick(plan.action, self._random(), self._runtime)

    def copy_connection(self, name: str, requester: RpcRequester, form: int) -> RpcUpstreamConnection | None:
        """A connection to ``name`` for the copy of a request; None if the cluster cannot take it."""
        cluster = self._clusters.get(name)
        endpoint = cluster.choose(None) if cluster is not None else None
        if cluster is None or endpoint is None:
            return None
        return self._pool(cluster, endpoint, 0).pick(requester, form)

    def _pool(self, cluster: Cluster, endpoint: Endpoint, priority: int) -> RpcPool:
        pool = self._pools.get((endpoint, priority))
        if pool is None:
            pool = RpcPool(self._proxy, cluster, endpoint, cluster.breakers[priority])
            self._pools[endpoint, priority] = pool
        return pool

    def begin(
        self,
        plan: RpcPlan,
        downstream: RpcRequester,
        extra: int,
        form: int,
        upstream: RpcUpstreamConnection | None,
        weight: ClusterWeight | None = None,
    ) -> Burst | None:
        """A burst for requests of ``plan`` whose frames say ``extra`` and ``form``, to ``upstream`` if that is chosen already."""
        if upstream is None:
            upstream = self.choose(plan, downstream, form, None, weight)
            if upstream is None:
                full, self._full = self._full, None
                if full is not None:
                    full.overflowed()
                return None
        now = self._proxy.reactor.now
        # A request says itself how long it may take; the route decides where it does not.
        timeout = extra / 1000.0 if extra > 0 else plan.timeout
        deadline = now + timeout if timeout else float("inf")
        config = self._proxy.config
        whole = (
            plan.weight is not None
            and config.pool_mode != "PING_PONG"
            and (config.pool_mode == "BOUND" or config.limits.connections_per_endpoint == 1)
            and len(upstream.pool.cluster.endpoints) == 1
        )
        burst = Burst(downstream, plan, upstream, extra, form, now, deadline, whole=whole)
        if burst.deadline < upstream.timer.at:
            upstream.timer.set(burst.deadline)
        return burst

    def forget(self, pool: RpcPool) -> None:
        """``pool`` will not be used again."""
        for key, known in list(self._pools.items()):
            if known is pool:
                del self._pools[key]

    def close(self) -> None:
        """Close all connections at once."""
        for pool in list(self._pools.values()):
            for connection in list(pool.connections):
                connection.close()
        self._pools.clear()

    def retire(self) -> None:
        """Close connections as soon as nothing is pending on them."""
        for pool in list(self._pools.values()):
            for connection in list(pool.connections):
                connection.retire()
