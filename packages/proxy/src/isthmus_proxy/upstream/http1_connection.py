"""One HTTP/1.1 connection to an endpoint: opened, used by one exchange at a time, given back or closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.codec.http1.events import Event
from isthmus_proxy.codec.http1.response_parser import ResponseParser
from isthmus_proxy.codec.http1.serialise import LAST_CHUNK, chunk, last_chunk
from isthmus_proxy.errors import ProtocolError
from isthmus_proxy.http.local_reply import (
    CONNECTION_TERMINATION,
    CONNECTION_TIMEOUT,
    PROTOCOL_ERROR,
    REMOTE_CONNECTION_FAILURE,
)
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.reactor.splice import WORTH_BYTES
from isthmus_proxy.upstream.connecting import Connecting, end_of
from isthmus_proxy.upstream.transports import HTTP1, transport_failure

if TYPE_CHECKING:
    from isthmus_proxy.http.stream_info import UpstreamEnd
    from isthmus_proxy.upstream.http2_stream import Http2UpstreamStream
    from isthmus_proxy.upstream.pool import ConnectionPool
    from isthmus_proxy.upstream.upgrade import Upgrade


class ResponseSink(Protocol):
    """Who waits for a response: an exchange."""

    def pool_ready(self, connection: Http1Connection | Http2UpstreamStream) -> None:
        """The connection waited for is there."""

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Parts of the response; with ``done`` it is complete and the connection is no longer the sink's."""

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The request is lost. ``sent``: some of it may have reached the peer; ``reused``: not the connection's first."""

    def upstream_blocked(self) -> None:
        """The peer reads too slowly: send no more of the body."""

    def upstream_writable(self) -> None:
        """Go on with the body."""


class Bypass(Protocol):
    """Who lets a response's body go straight to the client's connection."""

    def body_sink(self) -> Connection | None:
        """The connection that takes the bytes as they are; None if they have to be looked at."""

    def body_passed(self, size: int) -> None:
        """So many bytes went there."""


class Http1Connection:
    """See the module. ``sink`` is the exchange that uses the connection, None while it is being opened or idle.

    ``spelling`` of field names in requests, None for lower case.
    """

    __slots__ = (
        "_bypass", "_chunked", "_connecting", "_connection", "_parser", "_pool", "_stats", "_timer", "_unsent_at", "end",
        "opened_at", "request_done", "requests", "sink", "spelling",
    )  # fmt: skip

    http2 = False

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._stats = pool.cluster.stats
        self._parser = ResponseParser(pool.limits, pool.memo)
        self.spelling = pool.spelling
        self._connection: Connection | None = None
        self.sink: ResponseSink | None = None
        self.requests = 0
        self.end: UpstreamEnd | None = None
        self.request_done = False
        self._chunked = False
        self._bypass: Bypass | None = None
        self._unsent_at = 0
        reactor = pool.reactor
        self.opened_at = reactor.now
        self._timer: Timer = reactor.timer(self._timed_out)
        self._connecting: Connecting | None = None

    def open(self) -> None:
        """Begin to connect; the pool is told how it ends, never from within this call."""
        pool, config = self._pool, self._pool.cluster.config
        self._timer.set(pool.reactor.now + config.connect_timeout)
        limit, options = config.per_connection_buffer_limit_bytes, pool.transport_options
        self._connecting = Connecting(
            pool.transports,
            pool.cluster,
            pool.endpoint,
            options,
            HTTP1,
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
        self._pool.opened(self)

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
        elif self.sink is None:
            self._stats.upstream_cx_idle_timeout.value += 1
            self.close()

    @property
    def connecting(self) -> bool:
        """Whether the connection is still being opened."""
        return self._connecting is not None

    def send_head(
        self,
        sink: ResponseSink,
        method: bytes,
        head: bytes,
        *,
        done: bool,
        upgrade: Upgrade | None = None,
        chunked: bool = False,
    ) -> None:
        """Begin a request; with ``done`` all of it is here, with ``upgrade`` it asks to switch protocols."""
        connection = self._connection
        if connection is None:
            return
        self.sink = sink
        self.requests += 1
        self.request_done = done
        self._chunked = chunked
        self._bypass = None
        self._timer.at = float("inf")
        self._parser.expect(method, upgrade=upgrade is not None)
        self._unsent_at = connection.bytes_out
        self._stats.upstream_cx_tx_bytes_total.value += len(head)
        connection.write(head)

    def send_body(self, data: bytes) -> None:
        """Send body bytes."""
        self._write(chunk(data) if self._chunked else data)

    def _write(self, data: bytes) -> None:
        if self._connection is not None:
            self._stats.upstream_cx_tx_bytes_total.value += len(data)
            self._connection.write(data)

    def send_end(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """The request is complete; only a chunked body takes its ``trailers`` along."""
        self.request_done = True
        if self._chunked:
            self._write(last_chunk(trailers) if trailers else LAST_CHUNK)

    def pause(self) -> None:
        """Stop reading the response."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def take_over(self) -> Connection | None:
        """Leave the pool and give the bare connection to the caller (after 101 Switching Protocols)."""
        connection, self._connection = self._connection, None
        self.sink = None
        self._timer.discard()
        self._pool.closed(self, remote=False)
        return connection

    def reset(self, sink: ResponseSink) -> None:
        """``sink`` gives up its request: the connection cannot be used again. Nothing happens if it is another's."""
        if self.sink is sink:
            self.sink = None
            self._stats.upstream_cx_destroy_with_active_rq.value += 1
            self._stats.upstream_cx_destroy_local_with_active_rq.value += 1
            self.close()

    def close(self, *, remote: bool = False) -> None:
        """Close at once."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._timer.discard()
            self._pool.closed(self, remote=remote)
            self._connecting = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
            self._timer.discard()
            self._pool.closed(self, remote=remote)

    def data_received(self, data: bytes) -> None:
        """Parse a piece of the response; a complete one frees the connection before the sink hears of it."""
        self._stats.upstream_cx_rx_bytes_total.value += len(data)
        sink = self.sink
        if sink is None:
            self._stats.upstream_cx_protocol_error.value += 1
            self.close(remote=True)
            return
        parser = self._parser
        try:
            events = parser.receive(data)
        except ProtocolError:
            self._broken(PROTOCOL_ERROR)
            return
        done = parser.done
        if done and not parser.switching:
            self._finished(events)
        sink.upstream_events(events, done)
        if self._bypass is not None and self.sink is sink and parser.left >= WORTH_BYTES:
            self._splice(self._bypass)

    def offer_bypass(self, bypass: Bypass) -> None:
        """Let the rest of the body of this response go past its sink, if it is long enough."""
        self._bypass = bypass

    def _splice(self, bypass: Bypass) -> None:
        client = bypass.body_sink()
        if (
            client is None
            or self._connection is None
            or not self._connection.splice_to(client, self._parser.left, self)
        ):
            self._bypass = None

    def spliced(self, size: int) -> None:
        """More of the body went straight to the client."""
        self._stats.upstream_cx_rx_bytes_total.value += size
        self._parser.passed(size)
        if self._bypass is not None:
            self._bypass.body_passed(size)

    def splice_done(self) -> None:
        """The last of the body has gone to the client."""
        sink = self.sink
        if sink is not None:
            events = self._parser.body_passed()
            self._finished(events)
            sink.upstream_events(events, True)

    def _finished(self, events: Sequence[Event]) -> None:
        """The response is complete: give the connection back if both sides can go on."""
        self.sink = None
        self._bypass = None
        connection = self._connection
        if self.request_done and self._parser.keep_alive and connection is not None and not connection.closed:
            connection.resume()
            self._timer.set(self._pool.reactor.now + self._pool.idle_timeout)
            self._pool.release(self)
        else:
            self.close(remote=True)

    def eof_received(self) -> None:
        """The peer closed: the end of a response that lasts until then, harmless when idle, else a loss."""
        sink = self.sink
        if sink is None:
            self.close(remote=True)
            return
        try:
            events = self._parser.eof()
        except ProtocolError:
            self._broken(PROTOCOL_ERROR if self._parser.started else CONNECTION_TERMINATION)
            return
        self.sink = None
        self.close(remote=True)
        sink.upstream_events(events, True)

    def connection_lost(self, error: OSError) -> None:
        """The connection broke."""
        torn = self.sink is not None and self._parser.started and not self._parser.in_body
        self._broken(PROTOCOL_ERROR if torn else CONNECTION_TERMINATION)

    def _broken(self, reason: str) -> None:
        sink, self.sink = self.sink, None
        sent = self._connection is None or self._connection.bytes_out > self._unsent_at
        # What answered with nonsense is not a connection that was closed while nobody used it.
        untouched = not self._parser.started and reason != PROTOCOL_ERROR
        if sink is not None:
            self._stats.upstream_cx_destroy_with_active_rq.value += 1
            self._stats.upstream_cx_destroy_remote_with_active_rq.value += 1
        if reason == PROTOCOL_ERROR:
            self._stats.upstream_cx_protocol_error.value += 1
        self.close(remote=True)
        if sink is not None:
            sink.upstream_reset(reason, "", sent=sent, reused=self.requests > 1 and untouched)

    def high_watermark_reached(self) -> None:
        """Pass on that the peer reads slowly."""
        if self.sink is not None:
            self.sink.upstream_blocked()

    def low_watermark_reached(self) -> None:
        """Pass on that the peer has caught up."""
        if self.sink is not None:
            self.sink.upstream_writable()

    def drained(self) -> None:
        """Not used: a pool's connections are closed at once."""
