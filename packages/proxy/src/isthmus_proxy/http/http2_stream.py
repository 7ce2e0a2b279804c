"""One request of an HTTP/2 client: what an exchange takes for its connection, on a stream.

What the exchange writes is held until the end of the batch and framed then, so that a response which came whole leaves as
HEADERS and DATA with END_STREAM. Stream objects are used again and again, with their timers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.spelling import Spelling
from isthmus_proxy.codec.http2.errors import CANCEL, INTERNAL_ERROR, NO_ERROR
from isthmus_proxy.codec.http2.hpack_encoder import encode
from isthmus_proxy.codec.http2.stream import Stream
from isthmus_proxy.http.http2_response_plan import Http2ResponsePlan
from isthmus_proxy.http.local_reply import (
    REQUEST_TIMEOUT,
    STREAM_IDLE,
    STREAM_IDLE_INCOMPLETE,
    LocalReply,
    is_grpc,
)
from isthmus_proxy.http.local_reply_encoding import Encode, reply_head
from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.stream_timeouts import route_timed_out

if TYPE_CHECKING:
    from isthmus_proxy.http.exchange import Exchange
    from isthmus_proxy.http.http2_downstream import Http2DownstreamConnection
    from isthmus_proxy.http.stream_tunnel import StreamTunnel
    from isthmus_proxy.http.tunnel import Tunnel
    from isthmus_proxy.reactor.relay import RelayEnd

_CONTINUE = encode([(b":status", b"100")])


class Http2DownstreamStream:
    """See the module. ``stream`` is the codec's while one is served; ``exchange`` is None once only flushing is left."""

    __slots__ = (
        "_connection", "_data", "_end", "_ended", "_head", "_held", "_manager", "_relay", "_stall_after", "_trailers", "_tunnel", "closing",
        "connection_id", "exchange", "local", "remote", "request_timer", "route_timer", "security", "stream", "stream_timer",
    )  # fmt: skip

    http2 = True
    plan_type = Http2ResponsePlan

    def __init__(self, connection: Http2DownstreamConnection) -> None:
        self._connection = connection
        self._manager = connection.manager
        self.connection_id = connection.connection_id
        self.remote = connection.remote
        self.local = connection.local
        self.security = connection.security
        self.stream: Stream | None = None
        self.exchange: Exchange | None = None
        self.closing = False
        self._head: bytes | None = None
        self._data: list[bytes] = []
        self._trailers: bytes | None = None
        self._end = False
        self._ended = False
        self._tunnel: StreamTunnel | None = None
        self._relay: Tunnel | None = None
        self._held = False
        self._stall_after = float("inf")
        reactor = self._manager.reactor
        self.route_timer = reactor.timer(self._route_timed_out)
        self.stream_timer = reactor.timer(self._stream_timed_out)
        self.request_timer = reactor.timer(self._request_timed_out)

    @property
    def direct_remote(self) -> str:
        """The peer itself, whatever a PROXY header says."""
        return self._connection.direct_remote

    @property
    def original_destination(self) -> str:
        """Where the connection was going when it was redirected here, else empty."""
        return self._connection.original_destination

    def begin(self, stream: Stream, exchange: Exchange, stall_after: float, *, expect_continue: bool) -> None:
        """Serve ``exchange`` on ``stream``, which says what it is owned by."""
        self.stream = stream
        stream.owner = self
        self.exchange = exchange
        self.closing = False
        self._head = self._trailers = None
        self._end = self._ended = False
        self._stall_after = stall_after
        if not exchange.request_done:
            timeout = self._manager.config.request_timeout
            if timeout:
                self.request_timer.set(self._manager.reactor.now + timeout)
            if expect_continue and not self._manager.config.proxy_informational:
                self._connection.codec.sender.headers(stream, _CONTINUE, end=False)
                self._connection.flush_soon()

    def serve_instead(self, request: ParsedRequest) -> Exchange:
        """A new exchange in place of the one that runs, whose request goes on elsewhere."""
        exchange = self.exchange = self._manager.http2_exchange(self, request, done=True)
        return exchange

    def end_after_response(self) -> None:
        """Let the connection take no further requests."""
        self._connection.drain()

    def begun(self) -> None:
        """The exchange has chosen its route: from now on something has to move."""
        exchange = self.exchange
        if exchange is not None:
            target = exchange.target
            if target is not None and target.action.idle_timeout is not None:
                self._stall_after = target.action.idle_timeout or float("inf")
            self.stream_timer.set(self._manager.reactor.now + self._stall_after)

    def discard(self) -> None:
        """The object is not used again."""
        for timer in (self.route_timer, self.stream_timer, self.request_timer):
            timer.discard()

    @property
    def buffer_limit(self) -> int:
        """Bytes that may wait in either direction (per_connection_buffer_limit_bytes)."""
        return self._manager.buffer_limit

    # ---- from the client ----

    def data(self, data: bytes) -> None:
        """More of the request's body."""
        if self._tunnel is not None:
            self._tunnel.data(data)
        elif self.exchange is not None:
            self.stream_timer.set(self._manager.reactor.now + self._stall_after)
            self.exchange.request_data(data)

    def end(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """The request is complete."""
        self.request_timer.at = float("inf")
        if self._tunnel is not None:
            self._tunnel.end()
        elif self.exchange is not None:
            self.stream_timer.set(self._manager.reactor.now + self._stall_after)
            self.exchange.request_end(trailers)

    def reset(self, flag: str, details: str) -> None:
        """The stream is over before its time; nothing can be sent on it any more."""
        if self._relay is not None and self._tunnel is not None:
            self.closing = True
            self.stream = None
            self._tunnel.closed = True
            self._relay.close()  # and tunnel_closed is called
            return
        exchange, self.exchange = self.exchange, None
        self.closing = True
        if exchange is not None:
            exchange.cancel(flag, details)
        self._release()

    # ---- to the client ----

    def informational(self, status: int, headers: Headers) -> None:
        """Send an interim response."""
        if self.stream is not None:
            self._connection.codec.sender.headers(
                self.stream, encode([(b":status", b"%d" % status), *headers]), end=False
            )
            self._connection.flush_soon()

    def write_head(self, head: bytes, spelling: Spelling | None = None) -> None:
        """Send a response head; HTTP/2 knows one ``spelling`` alone."""
        del spelling
        self._head = head
        self._hold()

    def body_sink(self) -> None:
        """A response's body has to be put into frames."""

    def body_passed(self, size: int) -> None:
        """Not used: see ``body_sink``."""

    def write(self, data: bytes) -> None:
        """Send body bytes."""
        self._data.append(data)
        self._hold()
        self.stream_timer.set(self._manager.reactor.now + self._stall_after)

    def response_trailers(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """Send trailers at the end."""
        self._trailers = encode(trailers)

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self._connection.hold(self)

    def emit(self) -> None:
        """Frame what was held back."""
        self._held = False
        stream = self.stream
        if stream is None or self._ended:
            return
        sender = self._connection.codec.sender
        end, trailers = self._end, self._trailers
        if self._head is not None:
            head, self._head = self._head, None
            sender.headers(stream, head, end=end and not self._data and trailers is None)
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"".join(self._data)
            self._data.clear()
            sender.data(stream, data, end=end and trailers is None)
        elif end and trailers is None:
            sender.data(stream, b"", end=True)
        if end:
            self._ended = True
            if trailers is not None:
                sender.headers(stream, trailers, end=True)
            self.sent()
        elif self._relay is not None and self._tunnel is not None:
            if stream.queued and (sender.blocked or stream.queued > self._manager.buffer_limit):
                self._tunnel.blocked()
        elif (
            stream.queued
            and (sender.blocked or stream.queued > self._manager.buffer_limit)
            and self.exchange is not None
        ):
            self.exchange.downstream_blocked()

    def sent(self) -> None:
        """Something that waited has been sent: go on, or end the stream."""
        stream, exchange = self.stream, self.exchange
        if self._relay is not None and self._tunnel is not None:
            self._tunnel.writable()
        elif exchange is not None:
            exchange.downstream_writable()
        elif stream is not None and stream.local_closed:
            # A server that needs no more of the request says so (RFC 9113, 8.1); nothing happens on a stream that is over.
            self._connection.codec.reset(stream, NO_ERROR)
            self._release()
        elif stream is not None:
            self.stream_timer.set(self._manager.reactor.now + self._stall_after)

    def local_reply(
        self,
        exchange: Exchange,
        reply: LocalReply,
        edit: Callable[[Headers], None] | None = None,
        filters: Encode | None = None,
    ) -> None:
        """Answer ``exchange`` with ``reply``; ``edit`` changes its headers, ``filters`` all that go out for it."""
        request = exchange.request
        manager = self._manager
        content_type = next((value for name, value in request.headers if name == b"content-type"), None)
        info = exchange.info
        date = manager.clock.date(manager.reactor.now)
        grpc = is_grpc(content_type)
        head, body = reply_head(manager.config, info, reply, date, grpc=grpc, edit=edit, encode=filters)
        self.write_head(encode([(b":status", b"%d" % head.status), *head.headers]))
        if body and request.method != b"HEAD":
            info.bytes_sent += len(body)
            self.write(body)
        exchange.replied(reply.details, reply.flags)

    def cut(self) -> None:
        """The response cannot be completed: reset the stream."""
        if self.stream is not None:
            self._connection.codec.reset(self.stream, INTERNAL_ERROR)
            self._connection.flush_soon()
            self._release()

    def exchange_finished(self, exchange: Exchange) -> None:
        """``exchange`` is over: end the stream, unless it is to be cut or is gone."""
        if self.exchange is exchange:
            self.exchange = None
        if self._ended:
            self.sent()
        elif not self.closing:
            self._end = True
            self._hold()

    def end_response(self) -> None:
        """End the stream behind what has been written; the client may go on sending."""
        self._end = True
        self._hold()

    def _release(self) -> None:
        """The stream is over: give the object back."""
        if self.stream is not None:
            self.stream = None
            self._give_back()

    def _give_back(self) -> None:
        self._tunnel = self._relay = None
        self._head = self._trailers = None
        self._data.clear()
        self.route_timer.at = self.stream_timer.at = self.request_timer.at = float("inf")
        self._connection.stream_over(self)

    # ---- tunnels ----

    def expect_tunnel(self, *, ended: bool) -> None:
        """The request asks for a tunnel; ``ended``: the client sends nothing into it."""
        from isthmus_proxy.http.stream_tunnel import StreamTunnel  # noqa: PLC0415 - few streams are tunnels

        if self.exchange is not None:  # else it is answered already
            self._tunnel = StreamTunnel(self)
            self._tunnel.ended = ended

    def tunnel(self, exchange: Exchange, upstream: RelayEnd, early: bytes) -> None:
        """Relay bytes both ways from now on; ``early`` came right behind the upstream's head."""
        from isthmus_proxy.http.tunnel import Tunnel  # noqa: PLC0415 - the same

        tunnel = self._tunnel
        if tunnel is None:
            upstream.close()
            exchange.finish()
            return
        idle = 0.0 if self._stall_after == float("inf") else self._stall_after
        self._stall_after = float("inf")
        self.route_timer.at = self.stream_timer.at = self.request_timer.at = float("inf")
        self._relay = Tunnel(self._manager.reactor, exchange, tunnel, upstream, idle)
        self._relay.start(tunnel.take_early(), early)
        if tunnel.ended:
            tunnel.end()

    def tunnel_closed(self, exchange: Exchange) -> None:
        """The tunnel has ended, and with it the exchange and the stream."""
        self._relay = None
        self._stall_after = self._manager.config.stream_idle_timeout or float("inf")
        exchange.finish()
        if self.stream is None:  # it was reset before
            self._give_back()

    def reset_tunnel(self) -> None:
        """Reset the stream; the object is given back when the tunnel has closed."""
        stream, self.stream = self.stream, None
        self.closing = True
        if stream is not None:
            self._connection.codec.reset(stream, CANCEL)
            self._connection.flush_soon()

    # ---- back-pressure ----

    def hold_request(self) -> None:
        """Take no more of the request's body than the client's window allows already."""
        if self.stream is not None and not self.stream.withholding:
            self._manager.stats.downstream_flow_control_paused_reading_total.value += 1
            self._connection.codec.withhold(self.stream)

    def release_request(self) -> None:
        """Take more of it."""
        if self.stream is not None and self.stream.withholding:
            self._manager.stats.downstream_flow_control_resumed_reading_total.value += 1
            self._connection.codec.release(self.stream)
            self._connection.flush_soon()

    # ---- timeouts ----

    def _route_timed_out(self) -> None:
        if self.exchange is not None:
            route_timed_out(self.exchange)

    def _stream_timed_out(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._manager.stats.downstream_rq_idle_timeout.value += 1
            exchange.stalled(STREAM_IDLE if exchange.request_done else STREAM_IDLE_INCOMPLETE)
        elif self.stream is not None:
            self._connection.stats.tx_flush_timeout.value += 1
            self.cut()

    def _request_timed_out(self) -> None:
        if self.exchange is not None:
            self._manager.stats.downstream_rq_timeout.value += 1
            self.exchange.stalled(REQUEST_TIMEOUT)
