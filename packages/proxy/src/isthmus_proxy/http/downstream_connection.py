"""One HTTP/1.1 connection of a client: requests in order, one exchange at a time, keep-alive, timeouts, drain.

The file is longer than others: it is one state machine over one socket, whose methods all read and write the same few fields. What has
state of its own (parsing, exchanges, protocol detection, replies) is in modules of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.events import EndOfMessage, Event
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.request_parser import RequestParser
from isthmus_proxy.codec.http1.serialise import CONTINUE, response_head
from isthmus_proxy.codec.http1.spelling import Spelling
from isthmus_proxy.errors import ProtocolError
from isthmus_proxy.http.exchange import Exchange
from isthmus_proxy.http.http1_reply import answer, reject
from isthmus_proxy.http.local_answer import Edit
from isthmus_proxy.http.local_reply import (
    REQUEST_HEADER_TIMEOUT,
    REQUEST_TIMEOUT,
    STREAM_IDLE,
    STREAM_IDLE_INCOMPLETE,
    LocalReply,
    codec_error,
)
from isthmus_proxy.http.local_reply_encoding import Encode
from isthmus_proxy.http.max_duration import MaxDuration
from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.protocol_detection import ProtocolDetection
from isthmus_proxy.http.response_plan import ResponsePlan
from isthmus_proxy.http.stream_info import DownstreamSecurity, StreamInfo, connection_info
from isthmus_proxy.http.stream_timeouts import route_timed_out
from isthmus_proxy.http.tunnel import Tunnel
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.relay import RelayEnd

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.tls.info import TlsInfo

_HOLD_PIPELINE, _HOLD_BODY = 1, 2
_CLOSE = b"connection: close\r\n\r\n"


class DownstreamConnection:
    """See the module. Addresses are ``host:port``, ``original_destination`` empty if there is none; ``closing``: no more requests."""

    __slots__ = (
        "_age", "_connection", "_exchange", "_faulty", "_hold", "_manager", "_opened_at", "_parser", "_pumping",
        "_requests", "_sent_before", "_stall_after", "_timer", "_tunnel", "_vantage", "closing", "connection_id",
        "direct_remote", "local", "original_destination", "remote", "request_timer", "route_timer", "security",
        "server_name", "stream_timer",
    )  # fmt: skip

    http2 = False
    plan_type = ResponsePlan

    def __init__(
        self, manager: HttpConnectionManager, accepted: AcceptedSocket, peer: str, local: str, connection_id: int
    ) -> None:
        self._manager = manager
        reactor = manager.reactor
        self._connection = accepted.open(reactor, self, manager.buffer_limit)
        self.server_name = accepted.server_name
        self.security: DownstreamSecurity | None = None
        self._parser = RequestParser(manager.limits, manager.memo, accept_http_10=manager.config.accept_http_10)
        self._vantage = manager.vantage(peer, local)
        self.remote = peer
        self.local = local
        self.original_destination, self.direct_remote = "", peer
        self.connection_id = connection_id
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._hold = 0
        self._faulty = False
        self._pumping = False
        self._requests = 0
        self._sent_before = 0
        self._stall_after = manager.config.stream_idle_timeout or float("inf")
        self._opened_at = reactor.now
        self.closing = False
        self._age: MaxDuration | None = None
        self._timer = reactor.timer(self._timed_out)
        self.route_timer = reactor.timer(self._route_timed_out)
        self.stream_timer = reactor.timer(self._stream_timed_out)
        self.request_timer = reactor.timer(self._request_timed_out)

    def detect_protocol(self, codec_type: str) -> None:
        """Before a request is read: look at what TLS says, or at the first bytes, which may be those of HTTP/2."""
        self._connection.set_receiver(ProtocolDetection(self._manager, self, self._connection, codec_type))

    def secured(self, tls: TlsInfo) -> None:
        """The TLS handshake is done, and a request comes in."""
        self.security = DownstreamSecurity(self.server_name, tls)
        self._vantage = self._manager.vantage(self.remote, self.local, tls)

    def hand_over(self) -> None:
        """The connection is another protocol's: nothing of it is counted or timed here any more."""
        stats = self._manager.stats
        stats.downstream_cx_http1_total.value -= 1
        stats.downstream_cx_http1_active.value -= 1
        self._discard_timers()

    def _discard_timers(self) -> None:
        for timer in (self._timer, self.route_timer, self.stream_timer, self.request_timer):
            timer.discard()
        if self._age is not None:
            self._age.discard()

    def start(self) -> None:
        """Begin to read."""
        stats = self._manager.stats
        stats.downstream_cx_total.value += 1
        stats.downstream_cx_http1_total.value += 1
        stats.downstream_cx_active.value += 1
        if self._manager.secure:
            stats.downstream_cx_ssl_total.value += 1
            stats.downstream_cx_ssl_active.value += 1
        stats.downstream_cx_http1_active.value += 1
        self._connection.start()
        lifetime = self._manager.config.max_connection_duration
        if lifetime:
            self._age = MaxDuration(
                self._manager.reactor, lifetime, stats.downstream_cx_max_duration_reached, self._retire
            )
        self._rest()

    @property
    def buffer_limit(self) -> int:
        """Bytes that may wait in either direction (per_connection_buffer_limit_bytes)."""
        return self._connection.high_watermark

    @property
    def idle(self) -> bool:
        """Whether no request is being read or served."""
        return self._exchange is None and self._tunnel is None and not self._parser.started

    def _rest(self) -> None:
        """Between two requests: only the idle timeout runs."""
        idle = self._manager.config.idle_timeout
        if idle:
            self._timer.set(self._manager.reactor.now + idle)
        self.route_timer.at = self.stream_timer.at = self.request_timer.at = float("inf")

    # ---- from the client ----

    def data_received(self, data: bytes) -> None:
        """Parse and serve what came in."""
        self._manager.stats.downstream_cx_rx_bytes_total.value += len(data)
        if self.closing:
            return
        try:
            events = self._parser.receive(data)
        except ProtocolError as error:
            self._malformed(error)
            return
        self._serve(events)
        if self._parser.error is not None:
            self._malformed(self._parser.error)
        elif self._exchange is None:
            self._pump()

    def _serve(self, events: Sequence[Event]) -> None:
        if not events:
            if self._exchange is None:
                self._await_head()
            elif self._parser.unread:
                self._pause(_HOLD_PIPELINE)
            return
        for event in events:
            if type(event) is ParsedRequest:
                self._begin(event)
            elif self._exchange is not None:
                if type(event) is bytes:
                    self._exchange.request_data(event)
                elif type(event) is EndOfMessage:
                    self.request_timer.at = float("inf")
                    self._exchange.request_end(event.trailers)
        if self._exchange is not None:
            self.stream_timer.set(self._manager.reactor.now + self._stall_after)
        if self._parser.unread:
            self._pause(_HOLD_PIPELINE)

    def _await_head(self) -> None:
        """Part of a head is there: it has to be complete in time."""
        timeout = self._manager.config.request_headers_timeout
        if timeout and self._parser.started and self.request_timer.at == float("inf"):
            self.request_timer.set(self._manager.reactor.now + timeout)

    def _begin(self, request: ParsedRequest) -> None:
        manager = self._manager
        self._timer.at = float("inf")
        self._requests += 1
        config = manager.config
        if not request.keep_alive:
            self.closing = True
        if config.max_requests_per_connection == self._requests:
            self.closing = True
            if self._requests:
                manager.stats.downstream_cx_max_requests_reached.value += 1
        done = self._parser.done
        if not done:
            self._body_expected(request)
        exchange = self._exchange = manager.exchange(self, request, done=done)
        manager.begin(exchange, self._vantage)
        self._stall_after = self._stream_idle_timeout() or float("inf")

    def end_after_response(self) -> None:
        """Let this be the last request; the response says so."""
        self.closing = True

    def serve_instead(self, request: ParsedRequest) -> Exchange:
        """A new exchange in place of the one that runs, whose request goes on elsewhere."""
        exchange = self._exchange = self._manager.exchange(self, request, done=True)
        return exchange

    def _body_expected(self, request: ParsedRequest) -> None:
        timeout = self._manager.config.request_timeout
        if timeout:
            self.request_timer.set(self._manager.reactor.now + timeout)
        else:
            self.request_timer.cancel()
        manager = self._manager
        if request.expect_continue and request.version != b"HTTP/1.0" and not manager.config.proxy_informational:
            manager.stats.downstream_rq_1xx.value += 1
            manager.stats.downstream_rq_completed.value += 1
            self._connection.write(CONTINUE)

    def _pump(self) -> None:
        """Serve requests that came in behind the last one; a loop, so that many short ones do not nest."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._exchange is None and self._parser.done and not self.closing and not self._connection.closed:
                if self._connection.blocked:
                    break
                events = self._parser.next_request()
                if not self._parser.unread:
                    self._resume(_HOLD_PIPELINE)
                if not events:
                    self._await_head()
                    break
                self._serve(events)
                if self._parser.error is not None:
                    self._malformed(self._parser.error)
        except ProtocolError as error:
            self._malformed(error)
        finally:
            self._pumping = False

    def _malformed(self, error: ProtocolError) -> None:
        """The client broke the protocol: answer, then close without trusting another byte."""
        self._faulty = True
        self._manager.stats.downstream_cx_protocol_error.value += 1
        self._reject(codec_error(error))

    def _reject(self, reply: LocalReply) -> None:
        """Answer what is not (or no longer) a request with ``reply`` and close."""
        if self._exchange is not None:
            self._exchange.stalled(reply, "DPE")
            return
        reject(self, self._manager, reply)
        self._close_gently()

    def eof_received(self) -> None:
        """The client closed: Envoy takes a half-close for the end, and so do the clients that expect it."""
        self._remote_closed()
        self.cut()

    def connection_lost(self, error: OSError) -> None:
        """The connection broke."""
        failure = getattr(error, "transport_reason", "")  # of a tls.failure.TlsFailure
        if failure:
            self.security = DownstreamSecurity(self.server_name, failure=failure)
        self._remote_closed()
        self._gone()

    def _remote_closed(self) -> None:
        stats = self._manager.stats
        if self in self._manager.connections:
            stats.downstream_cx_destroy_remote.value += 1
        self.closing = True
        if self._tunnel is not None:
            self._tunnel.close()
        exchange = self._exchange
        if exchange is not None:
            stats.downstream_cx_destroy_active_rq.value += 1
            stats.downstream_cx_destroy_remote_active_rq.value += 1
            exchange.cancel()

    # ---- to the client ----

    def informational(self, status: int, headers: Headers) -> None:
        """Send an interim response."""
        head = response_head(status, headers)
        spelling = self._manager.spelling
        self.write(head if spelling is None else spelling.respell(head))

    def write_head(self, head: bytes, spelling: Spelling | None = None) -> None:
        """Send a response head, in ``spelling`` where the upstream's is kept; the last of the connection says so."""
        exchange = self._exchange
        if self.closing or self._manager.draining or (exchange is not None and not exchange.request_done):
            self.closing = True
            head = head[:-2] + _CLOSE
        if spelling is None:
            spelling = self._manager.spelling
        self.write(head if spelling is None else spelling.respell(head))

    def write(self, data: bytes) -> None:
        """Send framed response bytes."""
        self._manager.stats.downstream_cx_tx_bytes_total.value += len(data)
        self._connection.write(data)
        self.stream_timer.at = self._manager.reactor.now + self._stall_after

    def body_sink(self) -> Connection | None:
        """What takes the bytes of a response's body as they are."""
        return self._connection

    def body_passed(self, size: int) -> None:
        """So many bytes of it came from elsewhere."""
        self._manager.stats.downstream_cx_tx_bytes_total.value += size
        self.stream_timer.at = self._manager.reactor.now + self._stall_after

    def response_trailers(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """Drop trailers behind a body that is not chunked: HTTP/1.1 has no place for them."""

    def local_reply(
        self, exchange: Exchange, reply: LocalReply, edit: Edit | None = None, encode: Encode | None = None
    ) -> None:
        """Answer ``exchange`` with ``reply``; ``edit`` changes its headers, ``encode`` all that go out for it."""
        answer(self, exchange, reply, edit, encode)

    def break_off(self) -> None:
        """Close in the middle of whatever is going on."""
        if not self._connection.closed:
            self._manager.stats.downstream_cx_destroy_local.value += 1
        self.closing = True
        if self._tunnel is not None:
            self._tunnel.close()
        if self._exchange is not None:
            self._exchange.cancel()
        self.cut()

    def cut(self) -> None:
        """Close as soon as what was written so far is sent, and expect nothing more of the client."""
        self.closing = True
        if self._tunnel is not None:
            self._tunnel.close()
        connection = self._connection
        if connection.closed:
            self._gone()
        elif connection.flushed:
            connection.close()
            self._gone()
        else:
            connection.close_after_flush()
            self._await_close()

    def drained(self) -> None:
        """All is sent and the connection is closed."""
        self._gone()

    def exchange_finished(self, exchange: Exchange) -> None:
        """``exchange`` is over: rest, go on with what came in behind it, or close."""
        if self._exchange is exchange:
            self._exchange = None
        if self._connection.closed:
            return
        if not exchange.request_done:
            self.closing = True
        if self._hold & _HOLD_BODY:
            self._resume(_HOLD_BODY)
        if self.closing:
            self._close_gently()
            return
        self._rest()
        if self._parser.unread:
            self._pump()
        else:
            self._parser.next_request()

    def _close_gently(self) -> None:
        """Close once all is sent. A client that is still sending is read out first: a RST could destroy the response."""
        connection = self._connection
        if connection.closed:
            self._gone()
            return
        if self._parser.done and not self._parser.unread:
            connection.close_after_flush()
        else:
            connection.shutdown()
            connection.resume()
        self._await_close()

    def _await_close(self) -> None:
        """Give the client a while to take the rest; more as long as it goes on taking."""
        self.route_timer.at = self.stream_timer.at = self.request_timer.at = float("inf")
        self._sent_before = self._connection.bytes_out
        self._timer.set(self._manager.reactor.now + (self._manager.config.delayed_close_timeout or 1.0))

    def _gone(self) -> None:
        """The connection is closed, or closes as soon as it has sent all: account for it."""
        manager = self._manager
        if self not in manager.connections:
            return
        manager.connections.discard(self)
        self._discard_timers()
        stats = manager.stats
        stats.downstream_cx_destroy.value += 1
        stats.downstream_cx_active.value -= 1
        if manager.secure:
            stats.downstream_cx_ssl_active.value -= 1
        stats.downstream_cx_http1_active.value -= 1
        lasted = manager.reactor.now - self._opened_at
        stats.downstream_cx_length_ms.record(lasted * 1000.0)
        manager.on_close(lasted, self.describe)

    def describe(self) -> StreamInfo:
        """What a listener logs of the connection; the log sets its times."""
        info = connection_info(self.connection_id, self.remote, self.local, self._connection)
        info.downstream_security = self.security
        info.protocol, info.flags = "HTTP/1.1" if self._requests else "", ("DPE",) if self._faulty else ()
        return info

    # ---- back-pressure ----

    def hold_request(self) -> None:
        """Read no more of the request's body."""
        if not self._hold & _HOLD_BODY:
            self._manager.stats.downstream_flow_control_paused_reading_total.value += 1
        self._pause(_HOLD_BODY)

    def release_request(self) -> None:
        """Read on."""
        if self._hold & _HOLD_BODY:
            self._manager.stats.downstream_flow_control_resumed_reading_total.value += 1
            self._resume(_HOLD_BODY)

    def _pause(self, reason: int) -> None:
        self._hold |= reason
        self._connection.pause()

    def _resume(self, reason: int) -> None:
        self._hold &= ~reason
        if not self._hold:
            self._connection.resume()

    def high_watermark_reached(self) -> None:
        """The client reads too slowly."""
        if self._exchange is not None:
            self._exchange.downstream_blocked()

    def low_watermark_reached(self) -> None:
        """The client has caught up."""
        if self._exchange is not None:
            self._exchange.downstream_writable()
        else:
            self._pump()

    # ---- timeouts ----

    def _stream_idle_timeout(self) -> float:
        exchange = self._exchange
        target = exchange.target if exchange is not None else None
        if target is not None and target.action.idle_timeout is not None:
            return target.action.idle_timeout
        return self._manager.config.stream_idle_timeout

    def _timed_out(self) -> None:
        stats = self._manager.stats
        if self.closing and self._connection.bytes_out != self._sent_before:
            self._await_close()
        elif self.closing:
            stats.downstream_cx_delayed_close_timeout.value += 1
            self._connection.close()
            self._gone()
        elif self._exchange is None:
            stats.downstream_cx_idle_timeout.value += 1
            self.break_off()

    def _retire(self) -> bool:
        """Close when idle, or after the response of the request that is here; False while one is coming in."""
        exchange = self._exchange
        if self.idle:
            self.break_off()
        elif exchange is not None and exchange.request_done:
            self.closing = True
        return self.closing or self._tunnel is not None

    def _route_timed_out(self) -> None:
        if self._exchange is not None:
            route_timed_out(self._exchange)

    def _stream_timed_out(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            self._manager.stats.downstream_rq_idle_timeout.value += 1
            exchange.stalled(STREAM_IDLE if exchange.request_done else STREAM_IDLE_INCOMPLETE)

    def _request_timed_out(self) -> None:
        exchange, stats = self._exchange, self._manager.stats
        if exchange is not None:
            stats.downstream_rq_timeout.value += 1
            exchange.stalled(REQUEST_TIMEOUT)
        else:
            stats.downstream_rq_header_timeout.value += 1
            self._reject(REQUEST_HEADER_TIMEOUT)

    # ---- drain and upgrade ----

    def end_with_next(self) -> None:
        """Let the next request be the last: as if it were the last one of ``max_requests_per_connection``."""
        self._requests = self._manager.config.max_requests_per_connection - 1

    def drain(self) -> None:
        """Close if idle; otherwise the next response is the last."""
        if self.idle and not self._connection.closed and not self.closing:
            self._manager.stats.downstream_cx_drain_close.value += 1
            self.break_off()

    def tunnel(self, exchange: Exchange, upstream: RelayEnd, early: bytes) -> None:
        """Relay bytes both ways from now on; ``early`` came right behind the upstream's head."""
        self.closing = True
        self._timer.cancel()
        self.route_timer.at = self.stream_timer.at = self.request_timer.at = float("inf")
        idle = self._stream_idle_timeout()
        self._tunnel = Tunnel(self._manager.reactor, exchange, self._connection, upstream, idle)
        self._tunnel.start(self._parser.take_unread(), early)

    def tunnel_closed(self, exchange: Exchange) -> None:
        """The tunnel has ended, and with it the exchange and the connection."""
        self._tunnel = None
        exchange.finish()
        self._gone()
