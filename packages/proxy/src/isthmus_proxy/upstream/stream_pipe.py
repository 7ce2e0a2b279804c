"""A stream of HTTP/2 to an endpoint as one end of a tunnel (CONNECT, and extended CONNECT by RFC 8441)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.events import Event

if TYPE_CHECKING:
    from isthmus_proxy.reactor.connection import Receiver
    from isthmus_proxy.upstream.http1_connection import Http1Connection
    from isthmus_proxy.upstream.http2_stream import Http2UpstreamStream


class StreamPipe:
    """See the module, ``reactor.relay.RelayEnd`` and ``ResponseSink``: DATA frames are its bytes, END_STREAM is a half-close."""

    __slots__ = ("_eof", "_receiver", "_stream", "bytes_out", "closed")

    def __init__(self, stream: Http2UpstreamStream) -> None:
        self._stream = stream
        self._receiver: Receiver | None = None
        self._eof = False
        self.bytes_out = 0
        self.closed = False

    # ---- from the endpoint ----

    def pool_ready(self, connection: Http1Connection | Http2UpstreamStream) -> None:
        """Not reached: the stream is there."""

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Bytes came in, or the endpoint sends no more."""
        receiver = self._receiver
        for event in events:
            if isinstance(event, bytes) and receiver is not None and not self.closed:
                receiver.data_received(event)
        if done and receiver is not None and not self._eof and not self.closed:
            self._eof = True
            receiver.eof_received()

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The stream is lost."""
        if not self.closed:
            self.closed = True
            if self._receiver is not None:
                self._receiver.connection_lost(OSError(errno.ECONNRESET, reason))

    def upstream_blocked(self) -> None:
        """The endpoint takes too little."""
        if self._receiver is not None and not self.closed:
            self._receiver.high_watermark_reached()

    def upstream_writable(self) -> None:
        """The endpoint has caught up."""
        if self._receiver is not None and not self.closed:
            self._receiver.low_watermark_reached()

    # ---- the pipe ----

    def set_receiver(self, receiver: Receiver) -> None:
        """See RelayEnd."""
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        """See RelayEnd."""
        if not self.closed:
            self.bytes_out += len(data)
            self._stream.send_body(data)

    def shutdown(self) -> None:
        """See RelayEnd: END_STREAM behind the data."""
        if not self.closed and not self._stream.request_done:
            self._stream.send_end(())

    def pause(self) -> None:
        """See RelayEnd."""
        self._stream.pause()

    def resume(self) -> None:
        """See RelayEnd."""
        self._stream.resume()

    def close_after_flush(self) -> None:
        """See RelayEnd. An endpoint that was to send more is told that nobody listens."""
        if self.closed:
            return
        self.shutdown()
        self.closed = True
        if not self._eof:
            self._stream.reset(self)

    def close(self) -> None:
        """See RelayEnd."""
        if not self.closed:
            self.closed = True
            self._stream.reset(self)

    def abort(self) -> None:
        """See RelayEnd."""
        self.close()
