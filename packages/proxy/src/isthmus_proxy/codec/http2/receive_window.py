"""What the peer may still send: the windows of the connection and its streams, and when they are widened (RFC 9113, 5.2).

A WINDOW_UPDATE is due once half of a window is used up, so bulk data costs one for megabytes and small messages none.
"""

from __future__ import annotations

from isthmus_proxy.codec.http2 import frames
from isthmus_proxy.codec.http2.errors import FLOW_CONTROL_ERROR, Http2ConnectionError
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.sender import Sender
from isthmus_proxy.codec.http2.stream import Stream


class ReceiveWindow:
    """See the module. ``of_streams`` is the window with which a stream begins."""

    __slots__ = ("_left", "_sender", "_size", "_uncredited", "of_streams")

    def __init__(self, options: Http2Options, sender: Sender) -> None:
        self._sender = sender
        # The peer learns the sizes from our first frames, and holds to the smaller ones of the protocol until then.
        self.of_streams = max(options.initial_stream_window_size, frames.DEFAULT_WINDOW)
        self._size = self._left = max(options.initial_connection_window_size, frames.DEFAULT_WINDOW)
        self._uncredited = 0

    def take(self, flow: int) -> None:
        """``flow`` bytes came in, padding included."""
        self._left -= flow
        if self._left < 0:
            raise Http2ConnectionError(FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")

    def credit_connection(self, flow: int) -> None:
        """``flow`` bytes have been consumed."""
        self._uncredited += flow
        if self._uncredited * 2 >= self._size:
            self._sender.out.append(frames.window_update(0, self._uncredited))
            self._left += self._uncredited
            self._uncredited = 0

    def credit(self, stream: Stream, flow: int, *, end: bool) -> None:
        """``flow`` bytes of ``stream`` have been consumed; with ``end`` none will follow."""
        self.credit_connection(flow)
        stream.uncredited += flow
        if stream.uncredited * 2 >= self.of_streams and not end:
            self._sender.out.append(frames.window_update(stream.id, stream.uncredited))
            stream.receive_window += stream.uncredited
            stream.uncredited = 0

    def release(self, stream: Stream) -> None:
        """Give the credit that was withheld on ``stream``, and withhold no more."""
        stream.withholding = False
        withheld, stream.withheld = stream.withheld, 0
        if withheld:
            self.credit(stream, withheld, end=stream.remote_closed)
