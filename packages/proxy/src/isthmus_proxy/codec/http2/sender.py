"""The sending half of a connection: frames to write, windows, and what waits for them.

DATA waits on its stream while a window is used up or the socket takes no more; the streams that wait take turns, a frame
each. Everything else is written at once. ``out`` is emptied by the owner of the connection, once a batch.
"""

from __future__ import annotations

from collections import deque

from isthmus_proxy.codec.http2 import frames
from isthmus_proxy.codec.http2.errors import FLOW_CONTROL_ERROR, Http2ConnectionError
from isthmus_proxy.codec.http2.flood import FloodGuard
from isthmus_proxy.codec.http2.stats import Http2Stats
from isthmus_proxy.codec.http2.stream import Stream

_DATA_END = frames.END_STREAM


class Sender:
    """See the module. ``blocked``: the socket takes no more, so DATA waits. ``streams`` are the connection's."""

    __slots__ = (
        "_flood", "_stats", "_streams", "_waiting", "blocked", "control_unsent", "frames_unsent", "initial_window", "max_frame_size", "out",
        "window",
    )  # fmt: skip

    def __init__(self, streams: dict[int, Stream], flood: FloodGuard, stats: Http2Stats) -> None:
        self._streams = streams
        self._stats = stats
        self._flood = flood
        self._waiting: deque[Stream] = deque()
        self.out: list[bytes] = []
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame_size = frames.MIN_FRAME_SIZE
        self.blocked = False
        self.control_unsent = 0
        self.frames_unsent = 0

    def control(self, frame: bytes) -> None:
        """Send a frame that answers the peer: the peer can make us send any number of them, so unread ones are counted."""
        self.out.append(frame)
        self.control_unsent += 1

    def take(self) -> bytes:
        """Everything to write now."""
        out = self.out
        data = out[0] if len(out) == 1 else b"".join(out)
        self.frames_unsent += len(out)
        out.clear()
        return data

    def all_sent(self) -> None:
        """The peer has taken everything."""
        self.control_unsent = self.frames_unsent = 0

    def headers(self, stream: Stream, block: bytes, *, end: bool) -> None:
        """Send a message head, or trailers behind whatever waits."""
        if stream.local_closed or stream.end_queued:
            return
        if stream.queued:
            stream.trailers_queued = block
            stream.end_queued = True
            return
        self.out.append(frames.headers(stream.id, block, self.max_frame_size, end_stream=end))
        if end:
            self._ended(stream)

    def data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send body bytes, or queue what no window takes. ``stream.queued`` tells how much waits."""
        if stream.local_closed or stream.end_queued:
            return
        length = len(data)
        if (
            stream.queued
            or self.blocked
            or length > self.max_frame_size
            or (length and (length > self.window or length > stream.send_window))
        ):
            self._queue(stream, data, end=end)
            return
        self.window -= length
        stream.send_window -= length
        self._flood.data_frames_sent += 1
        flags = _DATA_END if end else 0
        self.out.append(frames.HEADER.pack(length >> 8, length & 0xFF, frames.DATA, flags, stream.id) + data)
        if end:
            self._ended(stream)

    def _queue(self, stream: Stream, data: bytes, *, end: bool) -> None:
        if stream.outgoing is None:
            stream.outgoing = deque()
        if not stream.outgoing:
            self._waiting.append(stream)
        stream.outgoing.append(data)
        stream.queued += len(data)
        stream.end_queued = end
        self.pump()

    def pump(self) -> list[Stream]:
        """Send what has become possible; answer the streams whose queue is empty now."""
        emptied: list[Stream] = []
        waiting = self._waiting
        stuck = 0
        while waiting and stuck < len(waiting) and self.window > 0 and not self.blocked:
            stream = waiting.popleft()
            if stream.local_closed:
                continue
            if stream.send_window <= 0 and stream.queued:
                waiting.append(stream)
                stuck += 1
                continue
            stuck = 0
            self._send_queued(stream)
            if stream.outgoing:
                waiting.append(stream)
            else:
                emptied.append(stream)
        return emptied

    def _send_queued(self, stream: Stream) -> None:
        """One frame of what waits on ``stream``, within all windows."""
        queue = stream.outgoing
        if not queue:
            return
        data = queue.popleft()
        room = min(self.window, stream.send_window, self.max_frame_size) if data else 0
        if len(data) > room:
            queue.appendleft(data[room:])
            data = data[:room]
        length = len(data)
        self.window -= length
        stream.send_window -= length
        stream.queued -= length
        self._flood.data_frames_sent += 1
        last = not queue and stream.end_queued and stream.trailers_queued is None
        self.out.append(frames.frame(frames.DATA, _DATA_END if last else 0, stream.id, data))
        if last:
            self._ended(stream)
        elif not queue and stream.trailers_queued is not None:
            self.out.append(frames.headers(stream.id, stream.trailers_queued, self.max_frame_size, end_stream=True))
            self._ended(stream)

    def forget(self, stream: Stream) -> None:
        """The stream is over: nothing more is sent on it."""
        stream.local_closed = True
        stream.outgoing = None
        stream.queued = 0
        if stream in self._waiting:
            self._waiting.remove(stream)

    def _ended(self, stream: Stream) -> None:
        stream.local_closed = True
        if stream.remote_closed:
            self.remove(stream)

    def remove(self, stream: Stream) -> None:
        """Both sides have ended, or the stream was reset: it is not known any more."""
        if self._streams.pop(stream.id, None) is not None:
            self._stats.streams_active.value -= 1

    def widen(self, stream: Stream, increment: int) -> bool:
        """The peer takes more on ``stream``; answer whether its window stays within bounds."""
        stream.send_window += increment
        return stream.send_window <= frames.MAX_WINDOW

    def widen_all(self, increment: int) -> None:
        """The peer takes more on the connection."""
        self.window += increment
        if self.window > frames.MAX_WINDOW:
            raise Http2ConnectionError(FLOW_CONTROL_ERROR, "the connection's window exceeds 2^31-1")

    def resize(self, initial_window: int) -> None:
        """The peer changed SETTINGS_INITIAL_WINDOW_SIZE: all windows move by the difference (RFC 9113, 6.9.2)."""
        change = initial_window - self.initial_window
        self.initial_window = initial_window
        for stream in self._streams.values():
            if not self.widen(stream, change):
                raise Http2ConnectionError(FLOW_CONTROL_ERROR, "a stream's window exceeds 2^31-1")
