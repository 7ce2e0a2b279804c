"""The connection pool of one endpoint: performs what ``assignment`` decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.transport import TransportOptions
from isthmus_proxy.codec.http1.limits import RESPONSE_LIMITS, HeadLimits
from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.spelling import PROPER, PROPER_CASE
from isthmus_proxy.codec.http2.header_block import BlockMemo
from isthmus_proxy.http.local_reply import CONNECTION_TIMEOUT, OVERFLOW
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.upstream.assignment import PoolState, Verdict
from isthmus_proxy.upstream.http1_connection import Http1Connection, ResponseSink
from isthmus_proxy.upstream.transports import NO_OPTIONS, Transports

if TYPE_CHECKING:
    from isthmus_proxy.upstream.http2_pool import Http2Pool
    from isthmus_proxy.upstream.http2_stream import Http2UpstreamStream


UpstreamRequest: TypeAlias = "Http1Connection | Http2UpstreamStream"


class RequestPool(Protocol):
    """What an exchange asks of a pool, whatever protocol its connections speak."""

    @property
    def reactor(self) -> Reactor:
        """Where its connections are served."""

    def acquire(self, sink: ResponseSink, /) -> UpstreamRequest | str | None:
        """Where to send now; None if ``sink`` has to wait for ``pool_ready``; or the reason for which it is refused."""

    def cancel(self, sink: ResponseSink, /) -> None:
        """``sink`` does not want a connection any more."""

    def finished(self) -> None:
        """A request begun on this pool is over."""


class ConnectionPool:
    """HTTP/1.1 connections to ``endpoint`` for the requests of one priority, whose circuit breaker is ``breaker``.

    ``memo`` remembers response heads and is shared by the pools of a process. ``pools`` are those of the process: a pool is
    among them until it is ``forgotten``, and then as long as it has connections.
    """

    __slots__ = (
        "_connections", "_pools", "_state", "breaker", "cluster", "endpoint", "forgotten", "idle_timeout", "limits", "memo", "reactor",
        "spelling", "transport_options", "transports",
    )  # fmt: skip

    http2 = False

    def __init__(
        self,
        reactor: Reactor,
        cluster: Cluster,
        endpoint: Endpoint,
        breaker: CircuitBreaker,
        memo: HeadMemo[ParsedResponse],
        pools: set[ConnectionPool | Http2Pool],
        transports: Transports,
        transport_options: TransportOptions = NO_OPTIONS,
    ) -> None:
        self.reactor = reactor
        self.cluster = cluster
        self.endpoint = endpoint
        self.breaker = breaker
        self.transports = transports
        self.transport_options = transport_options
        # What is kept of a head depends on the format, so that heads of such clusters are not shared with others.
        key_format = cluster.config.header_key_format
        self.memo: HeadMemo[ParsedResponse] = HeadMemo() if key_format else memo
        self.limits = HeadLimits(RESPONSE_LIMITS.max_bytes, key_format=key_format) if key_format else RESPONSE_LIMITS
        self.spelling = PROPER if key_format == PROPER_CASE else None
        breaker.connection_pools += 1
        self.idle_timeout = cluster.config.upstream_idle_timeout or float("inf")
        self._state: PoolState[Http1Connection, ResponseSink] = PoolState()
        self._connections: set[Http1Connection] = set()
        self._pools = pools
        self.forgotten = False
        pools.add(self)

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def unused(self) -> bool:
        """Whether it has neither connections nor requests that wait for one."""
        return not self._connections and not self._state.pending

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._state.idle)

    def acquire(self, sink: ResponseSink) -> Http1Connection | str | None:
        """A connection to use now; None if ``sink`` has to wait for ``pool_ready``; or the reason for which it is refused."""
        state, breaker = self._state, self.breaker
        limits = breaker.limits
        if state.idle and breaker.active_requests < limits.max_requests:
            return self._begin(state.idle.pop())
        cluster = self.cluster
        verdict = state.ask(breaker, limits, host_has_room=self._host_has_room())
        if verdict is Verdict.REQUEST_OVERFLOW:
            cluster.stats.upstream_rq_active_overflow.value += 1
            return OVERFLOW
        if verdict is Verdict.PENDING_OVERFLOW:
            cluster.stats.upstream_rq_pending_overflow.value += 1
            return OVERFLOW
        self._enqueue(sink)
        if verdict is Verdict.WAIT_AND_CONNECT and state.wants_connection():
            self._open()
        elif verdict is Verdict.WAIT:
            cluster.stats.upstream_cx_overflow.value += 1
        return None

    def _host_has_room(self) -> bool:
        return self.endpoint.cx_active < self.cluster.config.per_host_max_connections

    def cancel(self, sink: ResponseSink) -> None:
        """``sink`` does not want a connection any more."""
        try:
            self._state.pending.remove(sink)
        except ValueError:
            return
        self._pending(-1)
        self.cluster.stats.upstream_rq_cancelled.value += 1

    def finished(self) -> None:
        """A request begun on this pool is over."""
        self.breaker.active_requests -= 1
        self.endpoint.rq_active -= 1
        self.cluster.stats.upstream_rq_active.value -= 1

    def _begin(self, connection: Http1Connection) -> Http1Connection:
        cluster, endpoint = self.cluster, self.endpoint
        self.breaker.active_requests += 1
        endpoint.rq_active += 1
        endpoint.rq_total += 1
        if endpoint.monitor is not None:
            endpoint.monitor.connected()
        stats = cluster.stats
        stats.upstream_rq_total.value += 1
        stats.upstream_rq_active.value += 1
        return connection

    def _enqueue(self, sink: ResponseSink) -> None:
        self._state.pending.append(sink)
        self._pending(1)
        self.cluster.stats.upstream_rq_pending_total.value += 1

    def _pending(self, change: int) -> None:
        self.breaker.pending += change
        self.cluster.stats.upstream_rq_pending_active.value += change

    def _open(self) -> None:
        connection = Http1Connection(self)
        self._pools.add(self)
        self._state.connecting += 1
        self._connections.add(connection)
        self._counted(1)
        connection.open()

    def _counted(self, change: int) -> None:
        self._state.total += change
        self.breaker.active_connections += change
        self.endpoint.cx_active += change
        stats = self.cluster.stats
        stats.upstream_cx_active.value += change
        if change > 0:
            self.endpoint.cx_total += 1
            stats.upstream_cx_total.value += 1
            stats.upstream_cx_http1_total.value += 1

    def opened(self, connection: Http1Connection) -> None:
        """``connection`` is connected: the first request that waits gets it."""
        self._state.connecting -= 1
        self.cluster.stats.upstream_cx_connect_ms.record((self.reactor.now - connection.opened_at) * 1000.0)
        self._hand_out(connection)

    def open_failed(self, connection: Http1Connection, reason: str, transport: str) -> None:
        """A connection could not be opened: all that wait are told, so that each can decide (Envoy does the same)."""
        self._state.connecting -= 1
        self._discard(connection)
        self._counted(-1)
        self.endpoint.cx_connect_fail += 1
        self.cluster.stats.upstream_cx_connect_fail.value += 1
        self._destroyed(connection, remote=reason != CONNECTION_TIMEOUT)
        waiting = list(self._state.pending)
        self._state.pending.clear()
        self._pending(-len(waiting))
        self.cluster.stats.upstream_rq_pending_failure_eject.value += len(waiting)
        for sink in waiting:
            sink.upstream_reset(reason, transport, sent=False, reused=False)

    def release(self, connection: Http1Connection) -> None:
        """``connection`` has done its request and can take another."""
        limit = self.cluster.config.max_requests_per_connection
        if limit and connection.requests >= limit:
            self.cluster.stats.upstream_cx_max_requests.value += 1
            connection.close()
        elif self._state.pending:
            self._hand_out(connection)
        elif self.endpoint.removed or self.forgotten:
            connection.close()
        else:
            self._state.idle.append(connection)

    def _hand_out(self, connection: Http1Connection) -> None:
        pending = self._state.pending
        if pending:
            sink = pending.popleft()
            self._pending(-1)
            sink.pool_ready(self._begin(connection))
        else:
            self.release(connection)

    def closed(self, connection: Http1Connection, *, remote: bool) -> None:
        """``connection`` is gone; if requests wait for one, another is opened."""
        if connection not in self._connections:
            return
        self._discard(connection)
        if connection.connecting:
            self._state.connecting -= 1
        if connection in self._state.idle:
            self._state.idle.remove(connection)
        self._counted(-1)
        self._destroyed(connection, remote=remote)
        breaker, room = self.breaker, self._host_has_room()
        if self._state.wants_connection() and self._state.may_connect(breaker, breaker.limits, host_has_room=room):
            self._open()

    def _destroyed(self, connection: Http1Connection, *, remote: bool) -> None:
        stats = self.cluster.stats
        stats.upstream_cx_destroy.value += 1
        (stats.upstream_cx_destroy_remote if remote else stats.upstream_cx_destroy_local).value += 1
        stats.upstream_cx_length_ms.record((self.reactor.now - connection.opened_at) * 1000.0)

    def _discard(self, connection: Http1Connection) -> None:
        self._connections.discard(connection)
        if self.forgotten and not self._connections:
            self._pools.discard(self)

    def forget(self) -> None:
        """The endpoint has this pool no more: it is kept only until its last connection has closed."""
        self.forgotten = True
        if not self._connections:
            self._pools.discard(self)

    def close(self) -> None:
        """Close every connection at once."""
        for connection in list(self._connections):
            connection.close()

    def drain(self) -> None:
        """Close what is idle; what is busy closes after its request if the endpoint was removed."""
        for connection in list(self._state.idle):
            connection.close()


MAX_NAMED_POOLS = 256
"""Pools of one endpoint for different server names (auto_sni): clients choose these names."""


def server_name(authority: bytes) -> str:
    """The host of a request's authority, without its port (auto_sni)."""
    host = authority.decode("latin-1")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _leave(endpoint: Endpoint, pool: object) -> bool:
    """Take ``pool`` out of those by server name; answer whether it was there."""
    pools = endpoint.named_pools or {}
    for key, each in pools.items():
        if each is pool:
            del pools[key]
            return True
    return False


class Pools:
    """Makes the pool of an endpoint on its first use, and drains it when the endpoint leaves its cluster."""

    __slots__ = ("_blocks", "_pools", "_reactor", "memo", "transports")

    def __init__(self, reactor: Reactor, transports: Transports) -> None:
        self._reactor = reactor
        self.transports = transports
        self._pools: set[ConnectionPool | Http2Pool] = set()
        self._blocks = BlockMemo()
        self.memo: HeadMemo[ParsedResponse] = HeadMemo()

    def of(
        self, cluster: Cluster, endpoint: Endpoint, priority: int = 0, authority: bytes = b""
    ) -> ConnectionPool | Http2Pool | None:
        """The pool of ``endpoint`` for requests of ``priority`` (0 default, 1 high); None if max_connection_pools forbids it.

        ``authority`` is the request's: with auto_sni there is a pool for each server name.
        """
        if cluster.config.auto_sni:
            return self._named(cluster, endpoint, priority, server_name(authority))
        pool = endpoint.high_pool if priority else endpoint.pool
        if isinstance(pool, ConnectionPool) and not cluster.config.http2:
            return pool
        if pool is not None:
            known = cast("ConnectionPool | Http2Pool", pool)
            if known.http2 is cluster.config.http2:
                return known
            known.drain()  # the cluster changed its protocol
            self._forget(known)
        breaker = cluster.breakers[priority]
        if breaker.connection_pools >= breaker.limits.max_connection_pools and not self._free_one(breaker):
            cluster.stats.upstream_cx_pool_overflow.value += 1
            return None
        made = self._make(cluster, endpoint, breaker, NO_OPTIONS)
        if priority:
            endpoint.high_pool = made
        else:
            endpoint.pool = made
        return made

    def _make(
        self, cluster: Cluster, endpoint: Endpoint, breaker: CircuitBreaker, options: TransportOptions
    ) -> ConnectionPool | Http2Pool:
        if cluster.config.http2:
            from isthmus_proxy.upstream.http2_pool import Http2Pool  # noqa: PLC0415 - only where it is used

            return Http2Pool(
                self._reactor, cluster, endpoint, breaker, self._blocks, self._pools, self.transports, options
            )
        return ConnectionPool(
            self._reactor, cluster, endpoint, breaker, self.memo, self._pools, self.transports, options
        )

    def _named(
        self, cluster: Cluster, endpoint: Endpoint, priority: int, name: str
    ) -> ConnectionPool | Http2Pool | None:
        """The pool for one server name. Of too many names, those that nobody waits for are given up."""
        pools = endpoint.named_pools
        if pools is None:
            pools = endpoint.named_pools = {}
        known = cast("ConnectionPool | Http2Pool | None", pools.get((priority, name)))
        if known is not None and known.http2 is cluster.config.http2:
            return known
        if known is not None:
            known.drain()
            self._forget(known)
        breaker = cluster.breakers[priority]
        crowded = len(pools) >= MAX_NAMED_POOLS or breaker.connection_pools >= breaker.limits.max_connection_pools
        if crowded and not self._free_one(breaker):
            cluster.stats.upstream_cx_pool_overflow.value += 1
            return None
        made = pools[priority, name] = self._make(cluster, endpoint, breaker, TransportOptions(name))
        return made

    def once(self, cluster: Cluster, endpoint: Endpoint, priority: int = 0) -> ConnectionPool:
        """A pool of a single connection that never carries HTTP: it lives as long as that connection."""
        breaker = cluster.breakers[priority]
        pool = ConnectionPool(self._reactor, cluster, endpoint, breaker, self.memo, self._pools, self.transports)
        breaker.connection_pools -= 1  # the connection counts, as any TCP proxy's does
        pool.forget()
        return pool

    def _free_one(self, breaker: CircuitBreaker) -> bool:
        """Give up a pool without connections to make room for another."""
        for pool in self._pools:
            if pool.breaker is breaker and pool.unused:
                self._forget(pool)
                return True
        return False

    def _forget(self, pool: ConnectionPool | Http2Pool) -> None:
        endpoint = pool.endpoint
        if endpoint.pool is pool:
            endpoint.pool = None
        elif endpoint.high_pool is pool:
            endpoint.high_pool = None
        elif not _leave(endpoint, pool):
            return
        pool.breaker.connection_pools -= 1
        pool.forget()

    def close(self) -> None:
        """Close all connections at once: nobody needs them any more."""
        for pool in list(self._pools):
            pool.close()

    def endpoints_removed(self, _cluster: Cluster, endpoints: list[Endpoint]) -> None:
        """Close the idle connections of ``endpoints``, gone or unhealthy; busy ones serve their request, and no other.

        A callback for the cluster manager.
        """
        for endpoint in endpoints:
            for pool in (endpoint.pool, endpoint.high_pool, *(endpoint.named_pools or {}).values()):
                known = cast("ConnectionPool | Http2Pool | None", pool)
                if known is not None:
                    known.drain()
                    self._forget(known)
