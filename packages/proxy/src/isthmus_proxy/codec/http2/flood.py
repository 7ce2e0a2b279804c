"""Counts what a peer can send cheaply and in bulk, as Envoy does, and ends the connection beyond the limits.

The limits are in proportion to the work done on the connection: streams opened and DATA frames sent.
"""

from __future__ import annotations

from isthmus_proxy.codec.http2.errors import ENHANCE_YOUR_CALM, Http2ConnectionError
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.stats import CounterLike, Http2Stats


class FloodGuard:
    """See the module. ``data_frames_sent`` is kept by the sender."""

    __slots__ = ("_empty", "_options", "_priorities", "_stats", "_streams", "_window_updates", "data_frames_sent")

    def __init__(self, options: Http2Options, stats: Http2Stats) -> None:
        self._options = options
        self._stats = stats
        self._streams = 0
        self._empty = 0
        self._priorities = 0
        self._window_updates = 0
        self.data_frames_sent = 0

    def stream_opened(self) -> None:
        """A stream was opened, by either side."""
        self._streams += 1

    def payload(self) -> None:
        """A frame with a payload, or with END_STREAM, ends a run of empty ones."""
        self._empty = 0

    def empty_frame(self) -> None:
        """HEADERS, CONTINUATION or DATA without payload and without END_STREAM."""
        self._empty += 1
        if self._empty > self._options.max_consecutive_inbound_frames_with_empty_payload:
            raise flooded(self._stats.inbound_empty_frames_flood, "inbound_empty_frames_flood", "empty frames")

    def priority(self) -> None:
        """A PRIORITY frame."""
        self._priorities += 1
        if self._priorities > self._options.max_inbound_priority_frames_per_stream * (1 + self._streams):
            raise flooded(self._stats.inbound_priority_frames_flood, "inbound_priority_frames_flood", "PRIORITY frames")

    def window_update(self) -> None:
        """A WINDOW_UPDATE frame."""
        self._window_updates += 1
        per_data = self._options.max_inbound_window_update_frames_per_data_frame_sent
        if self._window_updates > 5 + 2 * (self._streams + per_data * self.data_frames_sent):
            counter = self._stats.inbound_window_update_frames_flood
            raise flooded(counter, "inbound_window_update_frames_flood", "WINDOW_UPDATE frames")

    def continuation(self, frames: int) -> None:
        """A block has come in ``frames`` CONTINUATION frames so far."""
        if frames > self._options.max_continuations:
            raise flooded(self._stats.inbound_continuation_flood, "inbound_continuation_flood", "CONTINUATION frames")

    def unsent(self, frames: int, control: int) -> None:
        """So many frames, and control frames, wait because the peer does not read."""
        if control > self._options.max_outbound_control_frames:
            raise flooded(self._stats.outbound_control_flood, "outbound_control_frames_flood", "unread answers")
        if frames > self._options.max_outbound_frames:
            raise flooded(self._stats.outbound_flood, "outbound_frames_flood", "unread frames")


def flooded(counter: CounterLike, detail: str, what: str) -> Http2ConnectionError:
    """Count a flood and make its fault."""
    counter.value += 1
    return Http2ConnectionError(ENHANCE_YOUR_CALM, f"too many {what}", f"http2.{detail}")
