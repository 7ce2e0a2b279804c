"""One request on an HTTP/2 connection to an endpoint: what an exchange sends to, and whom it hears from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.events import EndOfMessage
from isthmus_proxy.codec.http2.errors import CANCEL
from isthmus_proxy.codec.http2.events import (
    DataReceived,
    Event,
    HeadersReceived,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from isthmus_proxy.codec.http2.hpack_encoder import encode
from isthmus_proxy.codec.http2.stream import Stream
from isthmus_proxy.http.local_reply import PROTOCOL_ERROR, REMOTE_REFUSED, REMOTE_RESET
from isthmus_proxy.upstream.http2_response import parsed_response, switching
from isthmus_proxy.upstream.upgrade import CONNECT, Upgrade

if TYPE_CHECKING:
    from isthmus_proxy.http.stream_info import UpstreamEnd
    from isthmus_proxy.reactor.relay import RelayEnd
    from isthmus_proxy.upstream.http1_connection import ResponseSink
    from isthmus_proxy.upstream.http2_connection import Http2UpstreamConnection


class Http2UpstreamStream:
    """See the module. ``requests`` is 1: it carries one. The last piece of the body is held until more or its end is known."""

    __slots__ = (
        "_blocked",
        "_connection",
        "_done",
        "_held",
        "_to_emit",
        "_upgrade",
        "end",
        "request_done",
        "requests",
        "sink",
        "stream",
    )

    http2 = True
    spelling = None
    """Field names are in lower case (RFC 9113, 8.2.1)."""

    def __init__(self, connection: Http2UpstreamConnection) -> None:
        self._connection = connection
        self.sink: ResponseSink | None = None
        self.stream: Stream | None = None
        self.end: UpstreamEnd | None = connection.end
        self.requests = 1
        self.request_done = False
        self._held: bytes | None = None
        self._to_emit = False
        self._blocked = False
        self._done = False
        self._upgrade: Upgrade | None = None

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
        """Begin the request; with ``done`` the head is all of it, with ``upgrade`` it asks for a tunnel."""
        del chunked
        self.sink = sink
        self._upgrade = upgrade
        self.request_done = done
        self.stream = self._connection.codec.open(head, end=done, bodiless_response=method == b"HEAD")
        self.stream.owner = self
        self._connection.flush_soon()

    def send_body(self, data: bytes) -> None:
        """Send body bytes."""
        if self._held is not None:
            self._send(self._held, end=False)
        self._held = data
        if not self._to_emit:
            self._to_emit = True
            self._connection.hold(self)

    @property
    def unsent(self) -> int:
        """Bytes of the body that have been given but not framed."""
        held = len(self._held) if self._held is not None else 0
        return held + (self.stream.queued if self.stream is not None else 0)

    def keep_alive(self, greeting: float, interval: float, timeout: float) -> None:
        """Ping the endpoint as long as the connection is there; times in seconds (see ``Keepalive``)."""
        self._connection.keep_alive(greeting, interval, timeout)

    def send_end(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """The request is complete."""
        self.request_done = True
        held, self._held = self._held, None
        if trailers:
            if held is not None:
                self._send(held, end=False)
            if self.stream is not None:
                self._connection.codec.sender.headers(self.stream, encode(trailers), end=True)
        else:
            self._send(held or b"", end=True)
        if self._done:
            self._over()
        self._connection.flush_soon()

    def emit(self) -> None:
        """Frame what was held back: the batch is over."""
        self._to_emit = False
        held, self._held = self._held, None
        if held is not None:
            self._send(held, end=False)

    def _send(self, data: bytes, *, end: bool) -> None:
        stream, sender = self.stream, self._connection.codec.sender
        if stream is None:
            return
        sender.data(stream, data, end=end)
        if stream.queued and not self._blocked and (sender.blocked or stream.queued > self._connection.buffer_limit):
            self._blocked = True
            if self.sink is not None:
                self.sink.upstream_blocked()

    def pause(self) -> None:
        """Let the endpoint send no more than its window allows already."""
        if self.stream is not None:
            self._connection.codec.withhold(self.stream)

    def resume(self) -> None:
        """Let it send more."""
        if self.stream is not None and self.stream.withholding:
            self._connection.codec.release(self.stream)
            self._connection.flush_soon()

    def take_over(self) -> RelayEnd | None:
        """The stream as one end of a tunnel, which the endpoint has granted."""
        from isthmus_proxy.upstream.stream_pipe import StreamPipe  # noqa: PLC0415 - few streams are tunnels

        pipe = StreamPipe(self)
        self.sink = pipe
        return pipe

    def reset(self, sink: ResponseSink) -> None:
        """``sink`` gives up its request. Nothing happens if it is another's."""
        if self.sink is sink:
            self.sink = None
            self._abandon()

    def _abandon(self) -> None:
        """The request is of no use any more; the connection goes on."""
        stream, self.stream = self.stream, None
        self._held = None
        if stream is not None:
            self._connection.codec.reset(stream, CANCEL)
            self._connection.stream_over()

    def handle(self, event: Event) -> None:
        """Pass on what the endpoint did."""
        if isinstance(event, HeadersReceived):
            self._head(event)
        elif isinstance(event, DataReceived):
            self._pass_on([event.data] if event.data else [], done=event.end)
        elif isinstance(event, TrailersReceived):
            self._pass_on([EndOfMessage(event.fields)], done=True)
        elif isinstance(event, StreamWritable):
            self._unblocked()
        elif isinstance(event, StreamReset):
            self._lost(event)

    def _head(self, event: HeadersReceived) -> None:
        response = parsed_response(event.block, end=event.end)
        upgrade = self._upgrade
        if upgrade is not None and response.status >= 200:
            if response.status >= 300 or event.end:
                self._upgrade = None  # not granted
            elif upgrade.protocol != CONNECT:
                response = switching(response, upgrade)
        self._pass_on([response], done=event.end)

    def _over(self) -> None:
        """Both sides of a tunnel are done."""
        self.sink = None
        if self.stream is not None:
            if self.stream.queued:
                self._abandon()
            else:
                self.stream = None
                self._connection.stream_over()

    def _pass_on(self, events: list[object], *, done: bool) -> None:
        sink = self.sink
        if done and self._upgrade is not None and not self.request_done:
            self._done = True  # the other direction goes on
        elif done:
            self.sink = None
            if self.stream is not None and not self.stream.local_closed:
                self._abandon()  # the answer is complete, so the rest of the request is not wanted
            else:
                self.stream = None
                self._connection.stream_over()
        if sink is not None:
            sink.upstream_events(events, done)  # type: ignore[arg-type]

    def _unblocked(self) -> None:
        if self._blocked:
            self._blocked = False
            if self.sink is not None:
                self.sink.upstream_writable()

    def _lost(self, event: StreamReset) -> None:
        if event.refused:
            self.fail(REMOTE_REFUSED, sent=False, reused=True)
        else:
            self.fail(REMOTE_RESET if event.remote else PROTOCOL_ERROR, sent=True, reused=False)
        self._connection.stream_over()

    def fail(self, reason: str, *, sent: bool, reused: bool) -> None:
        """The request is lost."""
        sink, self.sink = self.sink, None
        self.stream = None
        self._held = None
        if sink is not None:
            sink.upstream_reset(reason, "", sent=sent, reused=reused)
