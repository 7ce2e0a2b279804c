"""A client's stream of HTTP/2 as one end of a tunnel (CONNECT, and extended CONNECT by RFC 8441).

Until the tunnel opens, what the client sends is kept, and no more is taken than may wait in either direction. From then on DATA
frames are the bytes of the tunnel, END_STREAM is a half-close, and a reset ends both sides at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus_proxy.http.http2_stream import Http2DownstreamStream
    from isthmus_proxy.reactor.connection import Receiver


class StreamTunnel:
    """See the module, and ``reactor.relay.RelayEnd``. ``ended``: the client sends no more."""

    __slots__ = ("_early", "_early_bytes", "_receiver", "_served", "bytes_out", "closed", "ended")

    def __init__(self, served: Http2DownstreamStream) -> None:
        self._served = served
        self._receiver: Receiver | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self.bytes_out = 0
        self.closed = False
        self.ended = False

    # ---- from the client ----

    def data(self, data: bytes) -> None:
        """Bytes came in."""
        if self._receiver is not None:
            self._receiver.data_received(data)
            return
        self._early.append(data)
        self._early_bytes += len(data)
        if self._early_bytes > self._served.buffer_limit:
            self._served.hold_request()

    def end(self) -> None:
        """The client sends no more."""
        self.ended = True
        if self._receiver is not None:
            self._receiver.eof_received()

    def take_early(self) -> bytes:
        """What came before the tunnel opened."""
        early = b"".join(self._early)
        self._early.clear()
        self._early_bytes = 0
        return early

    def blocked(self) -> None:
        """The client takes too little."""
        if self._receiver is not None:
            self._receiver.high_watermark_reached()

    def writable(self) -> None:
        """The client has caught up."""
        if self._receiver is not None:
            self._receiver.low_watermark_reached()

    # ---- the pipe ----

    def set_receiver(self, receiver: Receiver) -> None:
        """See RelayEnd."""
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        """See RelayEnd."""
        if not self.closed:
            self.bytes_out += len(data)
            self._served.write(data)

    def shutdown(self) -> None:
        """See RelayEnd: END_STREAM behind the data."""
        if not self.closed:
            self._served.end_response()

    def pause(self) -> None:
        """See RelayEnd."""
        self._served.hold_request()

    def resume(self) -> None:
        """See RelayEnd."""
        self._served.release_request()

    def close_after_flush(self) -> None:
        """See RelayEnd: the stream ends with its exchange, which sends what waits."""
        self.closed = True

    def close(self) -> None:
        """See RelayEnd."""
        if not self.closed:
            self.closed = True
            self._served.reset_tunnel()

    def abort(self) -> None:
        """See RelayEnd."""
        self.close()
