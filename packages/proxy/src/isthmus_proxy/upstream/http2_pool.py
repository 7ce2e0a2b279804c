"""The HTTP/2 connections to one endpoint: requests share one as long as it takes more, and wait where a limit forbids more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.transport import TransportOptions
from isthmus_proxy.codec.http2.header_block import BlockMemo
from isthmus_proxy.codec.http2.stats import Http2Stats
from isthmus_proxy.http.local_reply import OVERFLOW
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.upstream.assignment import PoolState, Verdict
from isthmus_proxy.upstream.http1_connection import ResponseSink
from isthmus_proxy.upstream.http2_connection import Http2UpstreamConnection
from isthmus_proxy.upstream.http2_stream import Http2UpstreamStream
from isthmus_proxy.upstream.transports import NO_OPTIONS, Transports

if TYPE_CHECKING:
    from isthmus_proxy.upstream.pool import ConnectionPool

_EXPECTED_STREAMS = 100
"""Requests that may wait for one connection being opened before another is opened."""


class Http2Pool:
    """HTTP/2 connections to ``endpoint`` for the requests of one priority, whose circuit breaker is ``breaker``.

    ``memo`` remembers response heads and is shared by the pools of a process. ``_ready`` are the connections that may take
    requests, in the order in which they are tried.
    """

    __slots__ = (
        "_connections", "_pools", "_ready", "_state", "breaker", "cluster", "endpoint", "forgotten", "idle_timeout", "memo", "options",
        "reactor", "stats", "transport_options", "transports",
    )  # fmt: skip

    http2 = True

    def __init__(
        self,
        reactor: Reactor,
        cluster: Cluster,
        endpoint: Endpoint,
        breaker: CircuitBreaker,
        memo: BlockMemo,
        pools: set[ConnectionPool | Http2Pool],
        transports: Transports,
        transport_options: TransportOptions = NO_OPTIONS,
    ) -> None:
        self.reactor = reactor
        self.transports = transports
        self.transport_options = transport_options
        self.cluster = cluster
        self.endpoint = endpoint
        self.breaker = breaker
        self.memo = memo
        breaker.connection_pools += 1
        self.options = cluster.config.http2_options
        scope = cluster.stats.scope
        self.stats = Http2Stats(lambda name: scope.counter(f"http2.{name}"), lambda name: scope.gauge(f"http2.{name}"))
        self.idle_timeout = cluster.config.upstream_idle_timeout or float("inf")
        self._state: PoolState[Http2UpstreamConnection, ResponseSink] = PoolState()
        self._connections: set[Http2UpstreamConnection] = set()
        self._pools = pools
        self.forgotten = False
        pools.add(self)
        self._ready: list[Http2UpstreamConnection] = []

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def unused(self) -> bool:
        """Whether it has neither connections nor requests that wait for one."""
        return not self._connections and not self._state.pending

    def acquire(self, sink: ResponseSink) -> Http2UpstreamStream | str | None:
        """A stream to use now; None if ``sink`` has to wait for ``pool_ready``; or the reason for which it is refused."""
        state, breaker = self._state, self.breaker
        limits = breaker.limits
        if breaker.active_requests < limits.max_requests:
            for connection in self._ready:
                if connection.has_room:
                    return self._begin(connection)
        stats = self.cluster.stats
        verdict = state.ask(breaker, limits, host_has_room=self._host_has_room())
        if verdict is Verdict.REQUEST_OVERFLOW:
            stats.upstream_rq_active_overflow.value += 1
            return OVERFLOW
        if verdict is Verdict.PENDING_OVERFLOW:
            stats.upstream_rq_pending_overflow.value += 1
            return OVERFLOW
        state.pending.append(sink)
        self._pending(1)
        stats.upstream_rq_pending_total.value += 1
        if verdict is Verdict.WAIT_AND_CONNECT and self._wants_connection():
            self._open()
        elif verdict is Verdict.WAIT:
            stats.upstream_cx_overflow.value += 1
        return None

    def _host_has_room(self) -> bool:
        return self.endpoint.cx_active < self.cluster.config.per_host_max_connections

    def _wants_connection(self) -> bool:
        return len(self._state.pending) > self._state.connecting * _EXPECTED_STREAMS

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

    def _begin(self, connection: Http2UpstreamConnection) -> Http2UpstreamStream:
        endpoint, stats = self.endpoint, self.cluster.stats
        self.breaker.active_requests += 1
        endpoint.rq_active += 1
        endpoint.rq_total += 1
        stats.upstream_rq_total.value += 1
        stats.upstream_rq_active.value += 1
        stream = connection.request()
        if connection.requests == self.cluster.config.max_requests_per_connection:
            stats.upstream_cx_max_requests.value += 1
            connection.draining = True
            self.draining(connection)
        return stream

    def _pending(self, change: int) -> None:
        self.breaker.pending += change
        self.cluster.stats.upstream_rq_pending_active.value += change

    def _open(self) -> None:
        connection = Http2UpstreamConnection(self)
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
            stats.upstream_cx_http2_total.value += 1

    def opened(self, connection: Http2UpstreamConnection) -> None:
        """``connection`` is connected: requests that wait get it."""
        self._state.connecting -= 1
        self.cluster.stats.upstream_cx_connect_ms.record((self.reactor.now - connection.opened_at) * 1000.0)
        self._ready.append(connection)
        self.room_made(connection)

    def open_failed(self, connection: Http2UpstreamConnection, reason: str, transport: str) -> None:
        """A connection could not be opened: all that wait are told, so that each can decide (Envoy does the same)."""
        self._state.connecting -= 1
        self._discard(connection)
        self._counted(-1)
        self.endpoint.cx_connect_fail += 1
        self.cluster.stats.upstream_cx_connect_fail.value += 1
        waiting = list(self._state.pending)
        self._state.pending.clear()
        self._pending(-len(waiting))
        self.cluster.stats.upstream_rq_pending_failure_eject.value += len(waiting)
        for sink in waiting:
            sink.upstream_reset(reason, transport, sent=False, reused=False)

    def room_made(self, connection: Http2UpstreamConnection) -> None:
        """``connection`` may take more requests now: give it those that wait."""
        pending = self._state.pending
        while pending and connection.has_room:
            sink = pending.popleft()
            self._pending(-1)
            sink.pool_ready(self._begin(connection))
        if (self.endpoint.removed or self.forgotten) and connection in self._ready:
            connection.drain()

    def draining(self, connection: Http2UpstreamConnection) -> None:
        """``connection`` takes no more requests; another is opened if some wait."""
        if connection in self._ready:
            self._ready.remove(connection)
        self._replace()

    def _replace(self) -> None:
        room = self._host_has_room()
        if self._wants_connection() and self._state.may_connect(self.breaker, self.breaker.limits, host_has_room=room):
            self._open()

    def closed(self, connection: Http2UpstreamConnection, *, remote: bool) -> None:
        """``connection`` is gone; if requests wait for one, another is opened."""
        if connection not in self._connections:
            return
        self._discard(connection)
        if connection.connecting:
            self._state.connecting -= 1
        if connection in self._ready:
            self._ready.remove(connection)
        self._counted(-1)
        stats = self.cluster.stats
        stats.upstream_cx_destroy.value += 1
        (stats.upstream_cx_destroy_remote if remote else stats.upstream_cx_destroy_local).value += 1
        stats.upstream_cx_length_ms.record((self.reactor.now - connection.opened_at) * 1000.0)
        self._replace()

    def _discard(self, connection: Http2UpstreamConnection) -> None:
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
        """Close every connection after its last request."""
        for connection in list(self._ready):
            connection.drain()
