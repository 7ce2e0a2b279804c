"""One HTTP/2 connection to an endpoint: opened, shared by many requests, ended in order when the endpoint goes away."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http2.codec import Http2Codec
from isthmus_proxy.codec.http2.events import Event, GoawayReceived
from isthmus_proxy.http.keepalive import Keepalive
from isthmus_proxy.http.local_reply import (
    CONNECTION_TERMINATION,
    CONNECTION_TIMEOUT,
    PROTOCOL_ERROR,
    REMOTE_CONNECTION_FAILURE,
)
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.upstream.connecting import Connecting, end_of
from isthmus_proxy.upstream.http2_stream import Http2UpstreamStream
from isthmus_proxy.upstream.transports import HTTP2, transport_failure

if TYPE_CHECKING:
    from isthmus_proxy.http.stream_info import UpstreamEnd
    from isthmus_proxy.upstream.http2_pool import Http2Pool

_STREAMS_BEFORE_SETTINGS = 100
"""Requests sent before the endpoint has said how many it takes at once: no usual server takes fewer (RFC 9113, 6.5.2)."""

# A machine that is gone sends no FIN: the kernel asks after 30 s and gives up 30 s later.
_TCP_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Http2UpstreamConnection:
    """See the module. ``draining``: no new requests; it closes after the last one."""

    __slots__ = (
        "_connecting", "_connection", "_dirty", "_held", "_keepalive", "_pool", "_stats", "_timer", "codec", "draining",
        "end", "opened_at", "requests",
    )  # fmt: skip

    def __init__(self, pool: Http2Pool) -> None:
        self._pool = pool
        self._stats = pool.cluster.stats
        self.codec = Http2Codec(pool.options, pool.stats, pool.memo, client=True)
        self._connection: Connection | None = None
        self._connecting: Connecting | None = None
        self._held: list[Http2UpstreamStream] = []
        self._dirty = False
        self.end: UpstreamEnd | None = None
        self.draining = False
        self.requests = 0
        reactor = pool.reactor
        self.opened_at = reactor.now
        self._timer = reactor.timer(self._timed_out)
        self._keepalive: Keepalive | None = None

    def open(self) -> None:
        """Begin to connect; the pool is told how it ends, never from within this call."""
        pool = self._pool
        self._timer.set(pool.reactor.now + pool.cluster.config.connect_timeout)
        options, limit = pool.transport_options, self.buffer_limit
        self._connecting = Connecting(
            pool.transports,
            pool.cluster,
            pool.endpoint,
            options,
            HTTP2,
            self,
            limit,
            self._opened,
            self._connect_failed,
        )
        self._connecting.start()

    def _opened(self, connection: Connection) -> None:
        self._connecting = None
        self.end = end_of(connection)
        self._timer.cancel()
        self._connection = connection
        self.codec.start()
        options = self._pool.options
        if options.keepalive_interval:
            self.keep_alive(0.0, options.keepalive_interval, options.keepalive_timeout)
        self.flush_soon()
        self._pool.opened(self)
        self._rest()

    def _connect_failed(self, error: OSError) -> None:
        self._connecting = None
        self._timer.discard()
        self._pool.open_failed(self, REMOTE_CONNECTION_FAILURE, transport_failure(error))

    def _timed_out(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
            self._timer.discard()
            self._stats.upstream_cx_connect_timeout.value += 1
            self._pool.open_failed(self, CONNECTION_TIMEOUT, "")
        elif not self.codec.streams:
            self._stats.upstream_cx_idle_timeout.value += 1
            self.close()

    def keep_alive(self, greeting: float, interval: float, timeout: float) -> None:
        """Ping the endpoint, unless that is done already; times in seconds (see ``Keepalive``).

        With a ``greeting`` somebody waits for what the endpoint will say in its own time, so the kernel asks after it as well.
        """
        connection = self._connection
        if greeting and connection is not None:
            for level, option, value in _TCP_KEEPALIVE:
                connection.sock.setsockopt(level, option, value)
        if self._keepalive is None and connection is not None:
            if self.codec.peer.received:
                greeting = 0.0
            reactor = self._pool.reactor
            self._keepalive = Keepalive(reactor, interval, timeout, self._ping, self._keepalive_failed, greeting)

    def _ping(self) -> None:
        self.codec.ping(b"isthmus.")
        self.flush_soon()

    def _keepalive_failed(self) -> None:
        self._pool.stats.keepalive_timeout.value += 1
        self._broken(CONNECTION_TERMINATION)

    @property
    def connecting(self) -> bool:
        """Whether the connection is still being opened."""
        return self._connecting is not None

    @property
    def buffer_limit(self) -> int:
        """Bytes that may wait to be sent (per_connection_buffer_limit_bytes)."""
        return self._pool.cluster.config.per_connection_buffer_limit_bytes

    @property
    def has_room(self) -> bool:
        """Whether one more request can be sent now."""
        codec = self.codec
        if self.draining or self._connection is None:
            return False
        limit = codec.peer.max_concurrent_streams if codec.peer.received else _STREAMS_BEFORE_SETTINGS
        taken: int = self._pool.options.max_concurrent_streams
        return len(codec.streams) < min(limit, taken)

    def request(self) -> Http2UpstreamStream:
        """A stream for one more request."""
        self.requests += 1
        self._timer.at = float("inf")
        return Http2UpstreamStream(self)

    # ---- reading and writing ----

    def data_received(self, data: bytes) -> None:
        """Serve the frames that came in."""
        self._stats.upstream_cx_rx_bytes_total.value += len(data)
        codec = self.codec
        self._serve(codec.receive(data))
        if self._keepalive is not None:
            self._keepalive.heard()
        if codec.failure is not None:
            self._write()
            self._broken(PROTOCOL_ERROR)
        elif codec.sender.out:
            self.flush_soon()

    def _serve(self, events: list[Event]) -> None:
        for event in events:
            stream = getattr(event, "stream", None)
            if stream is not None:
                if isinstance(stream.owner, Http2UpstreamStream):
                    stream.owner.handle(event)
            elif isinstance(event, GoawayReceived):
                self._stats.upstream_cx_close_notify.value += 1
                self.drain()
            else:
                self._pool.room_made(self)

    def hold(self, stream: Http2UpstreamStream) -> None:
        """``stream`` has something to frame at the end of the batch."""
        self._held.append(stream)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write at the end of the batch."""
        if not self._dirty:
            self._dirty = True
            self._pool.reactor.flush_later(self)

    def flush(self) -> None:
        """Frame and write what the batch has gathered."""
        self._dirty = False
        held, self._held = self._held, []
        for stream in held:
            stream.emit()
        self._write()

    def _write(self) -> None:
        connection, sender = self._connection, self.codec.sender
        if connection is None:
            return
        if connection.flushed:
            sender.all_sent()
        if sender.out:
            data = sender.take()
            self._stats.upstream_cx_tx_bytes_total.value += len(data)
            connection.write(data)

    def high_watermark_reached(self) -> None:
        """The endpoint reads too slowly: DATA waits on its streams."""
        self.codec.sender.blocked = True

    def low_watermark_reached(self) -> None:
        """The endpoint has caught up."""
        self._serve(self.codec.unblock())
        self.flush_soon()

    # ---- the end ----

    def stream_over(self) -> None:
        """A request is over: rest if it was the last, and let one that waits have its place."""
        self.flush_soon()
        if not self.codec.streams:
            if self.draining:
                self._pool.reactor.call_soon(self._close_if_drained)
            else:
                self._rest()
        self._pool.room_made(self)

    def _rest(self) -> None:
        if not self.codec.streams and self._connection is not None:
            self._timer.set(self._pool.reactor.now + self._pool.idle_timeout)

    def drain(self) -> None:
        """Take no more requests, and close after the last one."""
        if not self.draining:
            self.draining = True
            self._pool.draining(self)
        if not self.codec.streams:
            self._pool.reactor.call_soon(self._close_if_drained)

    def _close_if_drained(self) -> None:
        if self.draining and not self.codec.streams:
            self.close()

    def eof_received(self) -> None:
        """The endpoint closed."""
        self._broken(CONNECTION_TERMINATION)

    def connection_lost(self, error: OSError) -> None:
        """The connection broke."""
        self._broken(CONNECTION_TERMINATION)

    def _broken(self, reason: str) -> None:
        """All requests on it are lost. One whose response has not begun may have met a connection that was closed unused."""
        streams = list(self.codec.streams.values())
        if streams:
            self._stats.upstream_cx_destroy_with_active_rq.value += 1
            self._stats.upstream_cx_destroy_remote_with_active_rq.value += 1
        if reason == PROTOCOL_ERROR:
            self._stats.upstream_cx_protocol_error.value += 1
        reused = self.requests > len(streams) and reason != PROTOCOL_ERROR
        self.close(remote=True)
        for stream in streams:
            if isinstance(stream.owner, Http2UpstreamStream):
                stream.owner.fail(reason, sent=True, reused=reused and not stream.head_received)

    def close(self, *, remote: bool = False) -> None:
        """Close at once."""
        self.draining = True
        if self._connecting is not None:
            self._connecting.cancel()
            self._timer.discard()
            self._pool.closed(self, remote=remote)
            self._connecting = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
            self._timer.discard()
            if self._keepalive is not None:
                self._keepalive.stop()
            self._pool.stats.streams_active.value -= len(self.codec.streams)
            self.codec.streams.clear()
            self._pool.closed(self, remote=remote)

    def drained(self) -> None:
        """Not used: a pool's connections are closed at once."""
