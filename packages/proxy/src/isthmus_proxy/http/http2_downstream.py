"""One HTTP/2 connection of a client: the codec on a socket, its streams, idle timeout, keep-alive, drain.

Whatever a batch writes on the connection's streams leaves in one write at the end of the batch (``flush``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.http2.codec import Http2Codec
from isthmus_proxy.codec.http2.errors import NO_ERROR
from isthmus_proxy.codec.http2.events import (
    DataReceived,
    Event,
    HeadersReceived,
    PingAcknowledged,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from isthmus_proxy.codec.http2.frames import MAX_WINDOW
from isthmus_proxy.codec.http2.stats import Http2Stats
from isthmus_proxy.http.http2_request import parsed_request
from isthmus_proxy.http.http2_stream import Http2DownstreamStream
from isthmus_proxy.http.keepalive import Keepalive
from isthmus_proxy.http.premature_resets import PrematureResets
from isthmus_proxy.http.stream_info import DownstreamSecurity, StreamInfo, connection_info
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.timers import Timer

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager

_MAX_SPARE = 128
"""Stream objects kept for reuse: as many streams at once cost no new ones. Some 60 KB where they were in use."""

_PROTOCOL = "HTTP/2"


class Http2DownstreamConnection:
    """See the module. ``remote`` and ``local`` are ``host:port``; ``closing``: nothing more is read."""

    __slots__ = (
        "_active", "_age", "_connection", "_dirty", "_draining", "_held", "_keepalive", "_opened_at", "_requests",
        "_resets", "_sent_before", "_spare", "_timer", "_vantage", "closing", "codec", "connection_id",
        "direct_remote", "local", "manager", "original_destination", "remote", "security", "stats",
    )  # fmt: skip

    def __init__(
        self,
        manager: HttpConnectionManager,
        connection: Connection,
        peer: str,
        local: str,
        connection_id: int,
        stats: Http2Stats,
        security: DownstreamSecurity | None = None,
    ) -> None:
        self.manager = manager
        self.remote = peer
        self.local = local
        self.original_destination, self.direct_remote = "", peer
        self.connection_id = connection_id
        self.stats = stats
        options = manager.config.http2
        self.codec = Http2Codec(options, stats, manager.http2_memo, client=False)
        self._connection = connection
        self.security = security
        self._vantage = manager.vantage(peer, local, connection.tls)
        self._opened_at = manager.reactor.now
        self._active: set[Http2DownstreamStream] = set()
        self._spare: list[Http2DownstreamStream] = []
        self._held: list[Http2DownstreamStream] = []
        self._dirty = False
        self._draining = False
        self._requests = 0
        self._sent_before = 0
        self._resets = PrematureResets()
        self.closing = False
        self._timer = manager.reactor.timer(self._timed_out)
        self._age: Timer | None = None
        if manager.config.max_connection_duration:
            self._age = manager.reactor.call_later(manager.config.max_connection_duration, self._too_old)
        self._keepalive: Keepalive | None = None
        if options.keepalive_interval:
            self._keepalive = Keepalive(
                manager.reactor,
                options.keepalive_interval,
                options.keepalive_timeout,
                self._ping,
                self._keepalive_failed,
            )

    def start(self) -> None:
        """Send the settings; the connection is being read already."""
        stats = self.manager.stats
        stats.downstream_cx_http2_total.value += 1
        stats.downstream_cx_http2_active.value += 1
        self._connection.set_receiver(self)
        self.codec.start()
        self._rest()
        self.flush_soon()

    # ---- from the client ----

    def data_received(self, data: bytes) -> None:
        """Serve the frames that came in."""
        self.manager.stats.downstream_cx_rx_bytes_total.value += len(data)
        if self.closing:
            return
        codec = self.codec
        self._serve(codec.receive(data))
        if self._keepalive is not None:
            self._keepalive.heard()
        if codec.failure is not None:
            self._broken()
        elif codec.sender.out:
            self.flush_soon()

    def _serve(self, events: list[Event]) -> None:
        for event in events:
            kind = type(event)
            if kind is HeadersReceived:
                self._begin(event)  # type: ignore[arg-type]
                continue
            stream = getattr(event, "stream", None)
            owner = stream.owner if stream is not None else None
            if isinstance(owner, Http2DownstreamStream):
                self._pass_on(owner, event)
            elif kind is StreamReset:
                self._rejected(event)  # type: ignore[arg-type]
            elif kind is PingAcknowledged and self._keepalive is not None:
                self._keepalive.heard()

    def _pass_on(self, owner: Http2DownstreamStream, event: Event) -> None:
        if isinstance(event, DataReceived):
            if event.data:
                owner.data(event.data)
            if event.end:
                owner.end(())
        elif isinstance(event, TrailersReceived):
            owner.end(event.fields)
        elif isinstance(event, StreamWritable):
            owner.sent()
        elif isinstance(event, StreamReset):
            self._reset(owner, event)

    def _begin(self, event: HeadersReceived) -> None:
        if self.closing:
            return
        manager = self.manager
        self._timer.at = float("inf")
        self._requests += 1
        request = parsed_request(event.block, end=event.end)
        served = self._spare.pop() if self._spare else Http2DownstreamStream(self)
        self._active.add(served)
        exchange = manager.http2_exchange(served, request, done=event.end or request.switches)
        stall_after = manager.config.stream_idle_timeout or float("inf")
        served.begin(event.stream, exchange, stall_after, expect_continue=request.expect_continue)
        if request.switches:
            served.expect_tunnel(ended=event.end)
        manager.begin(exchange, self._vantage)
        served.begun()
        if self._requests == manager.config.max_requests_per_connection:
            manager.stats.downstream_cx_max_requests_reached.value += 1
            self.drain()

    def _reset(self, owner: Http2DownstreamStream, event: StreamReset) -> None:
        """The client, or its breach of the rules, ended one stream."""
        exchange = owner.exchange
        if not event.remote:
            owner.reset("DPE", event.detail)
            return
        info = exchange.info if exchange is not None else None
        premature = info is not None and self._resets.is_premature(
            self.manager.reactor.now - info.started_at, info.status
        )
        owner.reset("DR", "http2.remote_reset")
        if premature and self._resets.premature() and not self.closing:
            self.manager.stats.downstream_rq_too_many_premature_resets.value += 1
            self.break_off()

    def _rejected(self, event: StreamReset) -> None:
        """A head that is no request: there was no exchange to tell."""
        now = self.manager.reactor.now
        info = StreamInfo(now, self.manager.clock.at(now))
        info.downstream_security = self.security
        info.protocol = _PROTOCOL
        info.downstream_remote, info.downstream_local = self.remote, self.local
        info.downstream_direct_remote = self.direct_remote
        info.connection_id = self.connection_id
        info.response_code_details = event.detail
        info.flag("DPE")
        self.manager.log_rejected(info, http2=True)

    def _broken(self) -> None:
        """The client broke the protocol for the whole connection: say why, and close.

        One that did not begin with HTTP/2's preface would not understand (RFC 9113, 3.4), and is told nothing, as by Envoy.
        """
        failure = self.codec.failure
        self.manager.stats.downstream_cx_protocol_error.value += 1
        details = failure.detail if failure is not None else ""
        self.closing = True
        for served in list(self._active):
            served.reset("DPE", details)
        if not self.codec.greeted:
            self.codec.sender.take()
        self._write()
        self._connection.shutdown()
        self._await_close()

    def eof_received(self) -> None:
        """The client closed."""
        self._remote_closed()
        self._connection.close()
        self._gone()

    def connection_lost(self, error: OSError) -> None:
        """The connection broke."""
        self._remote_closed()
        self._gone()

    def _remote_closed(self) -> None:
        stats = self.manager.stats
        if self in self.manager.connections:
            stats.downstream_cx_destroy_remote.value += 1
        self.closing = True
        if self._active:
            stats.downstream_cx_destroy_active_rq.value += 1
            stats.downstream_cx_destroy_remote_active_rq.value += 1
        self._cancel_all()

    def _cancel_all(self) -> None:
        for served in list(self._active):
            served.reset("DC", "downstream_remote_disconnect")

    # ---- to the client ----

    def hold(self, served: Http2DownstreamStream) -> None:
        """``served`` has something to frame at the end of the batch."""
        self._held.append(served)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write at the end of the batch."""
        if not self._dirty:
            self._dirty = True
            self.manager.reactor.flush_later(self)

    def flush(self) -> None:
        """Frame and write what the batch has gathered."""
        self._dirty = False
        if self._connection.closed:
            self._held.clear()
            return
        held, self._held = self._held, []
        for served in held:
            served.emit()
        self._write()
        if self._draining and not self._active and self.codec.going_away:
            self.close_after_flush()

    def _write(self) -> None:
        sender = self.codec.sender
        if self._connection.flushed:
            sender.all_sent()
        if sender.out:
            data = sender.take()
            self.manager.stats.downstream_cx_tx_bytes_total.value += len(data)
            self._connection.write(data)

    def stream_over(self, served: Http2DownstreamStream) -> None:
        """A stream has ended in both directions."""
        self._active.discard(served)
        self._resets.closed()
        if len(self._spare) < _MAX_SPARE and not self.closing:
            self._spare.append(served)
        else:
            served.discard()
        if not self._active:
            self._rest()
            if self._draining:
                self.flush_soon()

    # ---- back-pressure ----

    def high_watermark_reached(self) -> None:
        """The client reads too slowly: DATA waits on its streams."""
        self.codec.sender.blocked = True

    def low_watermark_reached(self) -> None:
        """The client has caught up."""
        self._serve(self.codec.unblock())
        self.flush_soon()

    # ---- timeouts, drain, the end ----

    def _rest(self) -> None:
        """Without streams only the idle timeout runs."""
        idle = self.manager.config.idle_timeout
        if idle and not self.closing:
            self._timer.set(self.manager.reactor.now + idle)

    def _timed_out(self) -> None:
        stats = self.manager.stats
        if self.closing and self._connection.bytes_out != self._sent_before:
            self._await_close()
        elif self.closing:
            stats.downstream_cx_delayed_close_timeout.value += 1
            self._connection.close()
            self._gone()
        elif self._draining and not self.codec.going_away:
            self.codec.refuse_new_streams()
            self.flush_soon()
        elif not self._active:
            stats.downstream_cx_idle_timeout.value += 1
            self.codec.refuse_new_streams()
            self._write()
            self.close_after_flush()

    def _too_old(self) -> None:
        self._age = None
        self.manager.stats.downstream_cx_max_duration_reached.value += 1
        self.drain()

    def _ping(self) -> None:
        self.codec.ping(b"isthmus.")
        self.flush_soon()

    def _keepalive_failed(self) -> None:
        self.stats.keepalive_timeout.value += 1
        self.break_off()

    def drain(self) -> None:
        """End in order (RFC 9113, 6.8): announce it, serve what comes within drain_timeout, then close when all is answered."""
        if self._draining or self.closing:
            return
        self._draining = True
        self.manager.stats.downstream_cx_drain_close.value += 1
        self.codec.goaway(MAX_WINDOW, NO_ERROR)
        self._timer.set(self.manager.reactor.now + self.manager.config.drain_timeout)
        self.flush_soon()

    def end_with_next(self) -> None:
        """What a graceful drain asks of this connection: streams that run, and those that come meanwhile, are served."""
        self.drain()

    def break_off(self) -> None:
        """Close at once, in the middle of whatever is going on."""
        if not self._connection.closed:
            self.manager.stats.downstream_cx_destroy_local.value += 1
        self.closing = True
        self._cancel_all()
        self._connection.close()
        self._gone()

    def close_after_flush(self) -> None:
        """Close once everything is sent."""
        if not self.closing:
            self.closing = True
            self._connection.close_after_flush()
            self._await_close()

    def _await_close(self) -> None:
        """Give the client a while to take the rest; more as long as it goes on taking."""
        self._sent_before = self._connection.bytes_out
        self._timer.set(self.manager.reactor.now + (self.manager.config.delayed_close_timeout or 1.0))

    def drained(self) -> None:
        """All is sent and the connection is closed."""
        self._gone()

    def _gone(self) -> None:
        manager = self.manager
        if self not in manager.connections:
            return
        manager.connections.discard(self)
        self._timer.discard()
        if self._age is not None:
            self._age.discard()
        if self._keepalive is not None:
            self._keepalive.stop()
        for served in self._spare:
            served.discard()
        self._spare.clear()
        self.stats.streams_active.value -= len(self.codec.streams)
        self.codec.streams.clear()
        stats = manager.stats
        stats.downstream_cx_destroy.value += 1
        stats.downstream_cx_active.value -= 1
        if manager.secure:
            stats.downstream_cx_ssl_active.value -= 1
        stats.downstream_cx_http2_active.value -= 1
        lasted = manager.reactor.now - self._opened_at
        stats.downstream_cx_length_ms.record(lasted * 1000.0)
        manager.on_close(lasted, self.describe)

    def describe(self) -> StreamInfo:
        """What a listener logs of the connection; the log sets its times."""
        info = connection_info(self.connection_id, self.remote, self.local, self._connection)
        info.protocol = _PROTOCOL
        info.flags = ("DPE",) if self.codec.failure is not None else ()
        return info
