"""The connections of one RPC proxy to one endpoint, and what cluster and endpoint count of their requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.rpc.burst import Burst
from isthmus_proxy.rpc.upstream_connection import RpcUpstreamConnection

if TYPE_CHECKING:
    from isthmus_proxy.rpc.requester import RpcRequester
    from isthmus_proxy.rpc.rpc_proxy import RpcProxy


class RpcPool:
    """See the module. ``connections`` are all that are not closed; those that are not usable only finish what they began."""

    __slots__ = ("_current", "_turn", "breaker", "cluster", "connections", "endpoint", "proxy")

    def __init__(self, proxy: RpcProxy, cluster: Cluster, endpoint: Endpoint, breaker: CircuitBreaker) -> None:
        self.proxy = proxy
        self.cluster = cluster
        self.endpoint = endpoint
        self.breaker = breaker
        self.connections: list[RpcUpstreamConnection] = []
        self._current: RpcUpstreamConnection | None = None
        self._turn = 0

    def pick(self, downstream: RpcRequester, form: int) -> RpcUpstreamConnection | None:
        """A connection for the next request of ``downstream``; None if a limit forbids another one."""
        mode = self.proxy.config.pool_mode
        if mode == "MULTIPLEX":
            current = self._current
            if current is not None and current.usable:
                return current
            return self._multiplexed(form)
        if mode == "BOUND":
            bound = downstream.bound.get(self.endpoint)
            if bound is None or not bound.usable:
                bound = self._open(form)
                if bound is not None:
                    bound.bound_to = downstream
                    downstream.bound[self.endpoint] = bound
            return bound
        for connection in reversed(self.connections):  # the one used last is the least likely to be gone
            if connection.usable and not connection.pending:
                return connection
        return self._open(form)

    def _multiplexed(self, form: int) -> RpcUpstreamConnection | None:
        usable = [connection for connection in self.connections if connection.usable]
        wanted = self.proxy.limits.connections_per_endpoint
        if len(usable) < wanted:
            opened = self._open(form)
            if opened is not None:
                if wanted == 1:
                    self._current = opened
                return opened
        if not usable:
            return None
        self._turn = (self._turn + 1) % len(usable)
        return usable[self._turn]

    def _open(self, form: int) -> RpcUpstreamConnection | None:
        breaker, stats = self.breaker, self.cluster.stats
        if self.connections and (
            breaker.active_connections >= breaker.limits.max_connections
            or self.endpoint.cx_active >= self.cluster.config.per_host_max_connections
        ):
            stats.upstream_cx_overflow.value += 1
            return None
        connection = RpcUpstreamConnection(self, form)
        self.connections.append(connection)
        breaker.active_connections += 1
        self.endpoint.cx_active += 1
        self.endpoint.cx_total += 1
        stats.upstream_cx_active.value += 1
        stats.upstream_cx_total.value += 1
        connection.open()
        return connection

    def room(self, connection: RpcUpstreamConnection) -> int:
        """How many more requests the circuit breaker lets through on ``connection``."""
        breaker = self.breaker
        room = breaker.limits.max_requests - breaker.active_requests
        if connection.connecting:
            room = min(room, breaker.limits.max_pending_requests - breaker.pending)
        return room

    def overflowed(self, connection: RpcUpstreamConnection | None = None) -> None:
        """A limit kept a request from ``connection``, or from having one at all."""
        stats, breaker = self.cluster.stats, self.breaker
        self.endpoint.rq_error += 1
        running = connection is not None and not connection.connecting
        if running or breaker.active_requests >= breaker.limits.max_requests:
            stats.upstream_rq_active_overflow.value += 1
        else:
            stats.upstream_rq_pending_overflow.value += 1

    def begun(self, connection: RpcUpstreamConnection, count: int, size: int) -> None:
        """``count`` requests of ``size`` bytes are on their way by ``connection``."""
        self.breaker.active_requests += count
        endpoint, stats = self.endpoint, self.cluster.stats
        if connection.connecting:
            connection.queued += count
            self.breaker.pending += count
            stats.upstream_rq_pending_total.value += count
            stats.upstream_rq_pending_active.value += count
        elif endpoint.monitor is not None:
            self._got_connection(count)
        endpoint.rq_active += count
        endpoint.rq_total += count
        stats.upstream_rq_total.value += count
        stats.upstream_rq_active.value += count
        stats.upstream_cx_tx_bytes_total.value += size

    def completed(self, burst: Burst, count: int, status: int) -> None:
        """``count`` requests of ``burst`` ended with ``status``: their own, or what stands for a failure."""
        self.breaker.active_requests -= count
        endpoint, stats = self.endpoint, self.cluster.stats
        endpoint.rq_active -= count
        stats.upstream_rq_active.value -= count
        stats.upstream_rq_completed.value += count
        stats.classes[status // 100].value += count
        stats.code(status).value += count
        if status < 500:
            endpoint.rq_success += count
        else:
            endpoint.rq_error += count
        stats.upstream_rq_time.record((self.proxy.reactor.now - burst.started) * 1000.0, count)

    def dequeued(self, connection: RpcUpstreamConnection, count: int) -> None:
        """``count`` requests do not wait for ``connection`` to be there any more."""
        connection.queued -= count
        self.breaker.pending -= count
        self.cluster.stats.upstream_rq_pending_active.value -= count

    def _got_connection(self, count: int) -> None:
        monitor = self.endpoint.monitor
        if monitor is not None:
            for _ in range(count):
                monitor.connected()

    def judged(self, status: int, *, answered: bool) -> None:
        """Tell outlier detection of one request."""
        monitor = self.endpoint.monitor
        if monitor is not None:
            if answered:
                monitor.responded(status)
            else:
                monitor.failed(status)

    def connected(self, connection: RpcUpstreamConnection) -> None:
        """``connection`` is there."""
        self._got_connection(connection.queued)
        self.dequeued(connection, connection.queued)
        now = self.proxy.reactor.now
        self.cluster.stats.upstream_cx_connect_ms.record((now - connection.opened_at) * 1000.0)

    def connect_failed(self, connection: RpcUpstreamConnection, *, timed_out: bool) -> None:
        """``connection`` could not be opened."""
        del connection
        self.endpoint.cx_connect_fail += 1
        self.cluster.stats.upstream_cx_connect_fail.value += 1
        if timed_out:
            self.cluster.stats.upstream_cx_connect_timeout.value += 1

    def retired(self, connection: RpcUpstreamConnection) -> None:
        """``connection`` takes no more requests: the next one gets another."""
        if self._current is connection:
            self._current = None

    def closed(self, connection: RpcUpstreamConnection, *, remote: bool) -> None:
        """``connection`` is gone."""
        self.retired(connection)
        self.dequeued(connection, connection.queued)
        self.connections.remove(connection)
        self.breaker.active_connections -= 1
        self.endpoint.cx_active -= 1
        stats = self.cluster.stats
        stats.upstream_cx_active.value -= 1
        stats.upstream_cx_destroy.value += 1
        (stats.upstream_cx_destroy_remote if remote else stats.upstream_cx_destroy_local).value += 1
        if connection.pending:
            stats.upstream_cx_destroy_with_active_rq.value += 1
        stats.upstream_cx_length_ms.record((self.proxy.reactor.now - connection.opened_at) * 1000.0)
        if not self.connections and self.endpoint.removed:
            self.proxy.forget(self)
