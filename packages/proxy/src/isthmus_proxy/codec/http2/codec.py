"""One HTTP/2 connection (RFC 9113) without I/O, in either role: bytes in, events out, bytes to send gathered.

Theory of operation. ``receive`` takes what one read gave and serves all whole frames in it. What the protocol demands
(acknowledgements, window updates, resets) is put into ``sender.out`` meanwhile and leaves with everything else the owner
sends, in one write a batch. A peer that breaks the rules of one stream loses that stream (StreamReset with ``remote``
false); one that breaks those of the connection loses it: ``failure`` is set, a GOAWAY is ready to be sent, and nothing more
is read. Pushed streams are refused. Priorities are accepted and ignored.

The file is longer than others: it is one state machine, all of whose parts work on the same streams, windows and events; what does
not (header assembly, sending, settings, floods) is in modules of its own.
"""

from __future__ import annotations

from isthmus_proxy.codec.http2 import frames
from isthmus_proxy.codec.http2.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    Http2ConnectionError,
)
from isthmus_proxy.codec.http2.events import (
    DataReceived,
    Event,
    GoawayReceived,
    HeadersReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from isthmus_proxy.codec.http2.flood import FloodGuard
from isthmus_proxy.codec.http2.header_assembly import HeaderAssembly, unpadded
from isthmus_proxy.codec.http2.header_block import BlockMemo, HeaderBlock
from isthmus_proxy.codec.http2.messages import check_request, check_response, check_trailers
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.peer_settings import PeerSettings
from isthmus_proxy.codec.http2.receive_window import ReceiveWindow
from isthmus_proxy.codec.http2.sender import Sender
from isthmus_proxy.codec.http2.stats import Http2Stats
from isthmus_proxy.codec.http2.stream import Stream

_UNBOUNDED = frames.MAX_WINDOW
_REMEMBERED_RESETS = 1024
_READ_HEADER = frames.HEADER.unpack_from


class Http2Codec:
    """See the module. ``client``: this end opens the streams. ``last_stream_id`` is the highest the peer (or we) opened."""

    __slots__ = (
        "_events", "_flood", "_greeting", "_headers", "_options", "_resets", "_rest", "_stats",
        "_window", "client", "failure", "going_away", "last_stream_id", "peer", "sender", "streams",
    )  # fmt: skip

    def __init__(self, options: Http2Options, stats: Http2Stats, memo: BlockMemo, *, client: bool) -> None:
        self._options = options
        self._stats = stats
        self.client = client
        self.streams: dict[int, Stream] = {}
        self.peer = PeerSettings()
        self._flood = FloodGuard(options, stats)
        self.sender = Sender(self.streams, self._flood, stats)
        self._headers = HeaderAssembly(options, stats, self._flood, memo)
        self.failure: Http2ConnectionError | None = None
        self.going_away = False
        self.last_stream_id = 0
        self._greeting = frames.PREFACE if not client else b""
        self._rest = b""
        self._events: list[Event] = []
        self._window = ReceiveWindow(options, self.sender)
        self._resets: dict[int, None] = {}

    def start(self) -> None:
        """Send what opens the connection: preface, settings, and the connection's window."""
        options, out = self._options, self.sender.out
        values = [(frames.SETTINGS_INITIAL_WINDOW_SIZE, options.initial_stream_window_size)]
        if options.hpack_table_size != 4096:
            values.append((frames.SETTINGS_HEADER_TABLE_SIZE, options.hpack_table_size))
        if self.client:
            out.append(frames.PREFACE)
            values.append((frames.SETTINGS_ENABLE_PUSH, 0))
        else:
            values.append((frames.SETTINGS_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams))
            values.append((frames.SETTINGS_ENABLE_CONNECT_PROTOCOL, int(options.allow_connect)))
        out.append(frames.settings(values))
        more = options.initial_connection_window_size - frames.DEFAULT_WINDOW
        if more > 0:
            out.append(frames.window_update(0, more))

    # ---- receiving ----

    def receive(self, data: bytes) -> list[Event]:
        """Serve the frames in ``data``. After a failure nothing is read any more."""
        events = self._events = []
        if self.failure is not None:
            return events
        if self._rest:
            data = self._rest + data
        try:
            start = self._greet(data) if self._greeting else 0
            self._rest = data[self._serve(data, start) :]
            self._flood.unsent(self.sender.frames_unsent, self.sender.control_unsent)
        except Http2ConnectionError as fault:
            self._fail(fault)
        return events

    def _fail(self, fault: Http2ConnectionError) -> None:
        self.failure = fault
        self._rest = b""
        self.goaway(self.last_stream_id if not self.client else 0, fault.code, fault.message.encode())

    @property
    def greeted(self) -> bool:
        """Whether the peer's preface was one; a server's alone has any."""
        return not self._greeting

    def _greet(self, data: bytes) -> int:
        """Check the client's preface as far as it is here; answer how much of ``data`` it takes."""
        preface = self._greeting
        if data[: len(preface)] != preface[: len(data)]:
            raise Http2ConnectionError(PROTOCOL_ERROR, "the connection does not begin with HTTP/2's preface")
        if len(data) < len(preface):
            return 0
        self._greeting = b""
        return len(preface)

    def _serve(self, data: bytes, position: int) -> int:
        """Serve the whole frames from ``position`` on; answer where the rest begins."""
        end = len(data)
        if self._greeting:
            return position
        while end - position >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = _READ_HEADER(data, position)
            length = high << 8 | low
            if length > frames.MIN_FRAME_SIZE:
                raise Http2ConnectionError(FRAME_SIZE_ERROR, f"a frame of {length} bytes; at most 16384 are taken")
            start = position + frames.HEADER_BYTES
            position = start + length
            if position > end:
                return start - frames.HEADER_BYTES
            self._frame(kind, flags, stream_id & 0x7FFFFFFF, data[start:position])
        return position

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        unfinished = self._headers.stream_id
        if unfinished and (kind != frames.CONTINUATION or stream_id != unfinished):
            raise Http2ConnectionError(PROTOCOL_ERROR, "a header block is interrupted by another frame")
        if not self.peer.received and kind != frames.SETTINGS:
            raise Http2ConnectionError(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == frames.HEADERS:
            if stream_id == 0:
                raise Http2ConnectionError(PROTOCOL_ERROR, "HEADERS on stream 0")
            block = self._headers.headers(flags, stream_id, payload)
            if block is not None:
                self._block_complete(stream_id, block)
        elif kind == frames.DATA:
            self._data(flags, stream_id, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        else:
            self._rarer_frame(kind, flags, stream_id, payload)

    def _rarer_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == frames.RST_STREAM:
            self._rst_stream(stream_id, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, stream_id, payload)
        elif kind == frames.PING:
            self._ping(flags, stream_id, payload)
        elif kind == frames.CONTINUATION:
            block = self._headers.continuation(flags, payload)
            if block is not None:
                self._block_complete(stream_id, block)
        elif kind == frames.GOAWAY:
            self._goaway(stream_id, payload)
        elif kind == frames.PRIORITY:
            self._priority(stream_id, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Http2ConnectionError(PROTOCOL_ERROR, "a pushed stream, which was not allowed")

    # ---- header blocks ----

    def _block_complete(self, stream_id: int, block: HeaderBlock) -> None:
        end = self._headers.end_stream
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._next_headers(stream, block, end=end)
        elif self.client or stream_id <= self.last_stream_id:
            self._headers_on_no_stream(stream_id)
        else:
            self._open(stream_id, block, end=end)

    def _headers_on_no_stream(self, stream_id: int) -> None:
        self._stats.headers_cb_no_stream.value += 1
        if self._is_idle(stream_id):
            raise Http2ConnectionError(PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which nobody opened")
        if stream_id not in self._resets:
            raise Http2ConnectionError(STREAM_CLOSED, f"HEADERS on stream {stream_id}, which is closed")

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.last_stream_id or stream_id & 1 == 0

    def _open(self, stream_id: int, block: HeaderBlock, *, end: bool) -> None:
        """A request begins."""
        if stream_id & 1 == 0:
            raise Http2ConnectionError(PROTOCOL_ERROR, f"a client opened stream {stream_id}; a client's are odd")
        self.last_stream_id = stream_id
        self._flood.stream_opened()
        if len(self.streams) >= self._options.max_concurrent_streams or self.going_away:
            self._stats.stream_refused_errors.value += 1
            self._reject(stream_id, REFUSED_STREAM)
            return
        verdict = block.verdict
        if verdict is None and not block.overflow:
            verdict = block.verdict = check_request(block, allow_connect=self._options.allow_connect)
        stream = Stream(stream_id, self.sender.initial_window, self._window.of_streams)
        stream.remote_closed = end
        stream.head_received = True
        if self._headers.self_dependent:
            verdict = "a stream that depends on itself"
        if verdict or block.overflow or (end and block.length > 0):
            self._reject_head(stream, block, verdict or "a body of another length than content-length")
            return
        self.streams[stream_id] = stream
        self._stats.streams_active.value += 1
        stream.expected = -1 if end else block.length
        self._events.append(HeadersReceived(stream, block, end))

    def _reject_head(self, stream: Stream, block: HeaderBlock, verdict: str) -> None:
        if block.overflow:
            self._stats.header_overflow.value += 1
            self._reject(stream.id, INTERNAL_ERROR)
            detail = "http2.header_list_size_too_large"
        else:
            self._stats.rx_messaging_error.value += 1
            self._reject(stream.id, PROTOCOL_ERROR)
            detail = (
                "http2.violation.of.messaging.rule" if "content-length" in verdict else "http2.invalid.header.field"
            )
        self._events.append(StreamReset(stream, PROTOCOL_ERROR, remote=False, detail=detail))

    def _next_headers(self, stream: Stream, block: HeaderBlock, *, end: bool) -> None:
        """Headers on a stream that is known: a response, or trailers."""
        if stream.remote_closed:
            self._stream_error(stream, STREAM_CLOSED, "http2.stream_closed")
        elif block.overflow:
            self._stats.header_overflow.value += 1
            self._stream_error(stream, ENHANCE_YOUR_CALM, "http2.header_list_size_too_large")
        elif stream.head_received:
            self._trailers(stream, block, end=end)
        else:
            self._response(stream, block, end=end)

    def _response(self, stream: Stream, block: HeaderBlock, *, end: bool) -> None:
        verdict = block.verdict
        if verdict is None:
            verdict = block.verdict = check_response(block)
        if verdict or (block.status < 200 and end):
            self._messaging_error(stream, "http2.invalid.header.field")
            return
        if block.status >= 200:
            stream.head_received = True
            if stream.expected != _UNBOUNDED and block.status not in (204, 304):
                stream.expected = block.length
            else:
                stream.expected = -1
            if end and stream.expected > 0:
                self._messaging_error(stream, "http2.violation.of.messaging.rule")
                return
        self._events.append(HeadersReceived(stream, block, end))
        if end:
            self._remote_end(stream)

    def _trailers(self, stream: Stream, block: HeaderBlock, *, end: bool) -> None:
        if not end or check_trailers(block) or stream.expected not in (-1, stream.received):
            self._messaging_error(stream, "http2.violation.of.messaging.rule")
            return
        self._stats.trailers.value += 1
        self._events.append(TrailersReceived(stream, block.fields))
        self._remote_end(stream)

    def _messaging_error(self, stream: Stream, detail: str) -> None:
        self._stats.rx_messaging_error.value += 1
        self._stream_error(stream, PROTOCOL_ERROR, detail)

    # ---- bodies ----

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise Http2ConnectionError(PROTOCOL_ERROR, "DATA on stream 0")
        flow = len(payload)
        self._window.take(flow)
        if flags & frames.PADDED:
            payload = unpadded(payload)
        end = flags & frames.END_STREAM != 0
        if payload or end:
            self._flood.payload()
        else:
            self._flood.empty_frame()
        stream = self.streams.get(stream_id)
        if stream is None or stream.remote_closed or not stream.head_received:
            self._window.credit_connection(flow)
            self._data_on_no_stream(stream, stream_id)
            return
        stream.receive_window -= flow
        if stream.receive_window < 0:
            self._window.credit_connection(flow)
            self._stream_error(stream, FLOW_CONTROL_ERROR, "http2.flow_control_error")
            return
        stream.received += len(payload)
        expected = stream.expected
        if expected >= 0 and (stream.received > expected or (end and stream.received != expected)):
            self._window.credit_connection(flow)
            self._messaging_error(stream, "http2.violation.of.messaging.rule")
            return
        if stream.withholding:
            stream.withheld += flow
        else:
            self._window.credit(stream, flow, end=end)
        if payload or end:
            self._events.append(DataReceived(stream, payload, end))
        if end:
            self._remote_end(stream)

    def _data_on_no_stream(self, stream: Stream | None, stream_id: int) -> None:
        if stream is not None:
            if stream.remote_closed:
                self._stream_error(stream, STREAM_CLOSED, "http2.stream_closed")
            else:
                self._messaging_error(stream, "http2.violation.of.messaging.rule")
        elif self._is_idle(stream_id):
            raise Http2ConnectionError(PROTOCOL_ERROR, f"DATA on stream {stream_id}, which nobody opened")
        elif stream_id not in self._resets:
            raise Http2ConnectionError(STREAM_CLOSED, f"DATA on stream {stream_id}, which is closed")

    def _remote_end(self, stream: Stream) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self.sender.remove(stream)

    def withhold(self, stream: Stream) -> None:
        """Give no more credit for what comes in on ``stream``: its consumer is slow."""
        stream.withholding = True

    def release(self, stream: Stream) -> None:
        """Give the credit held back, and go on giving it."""
        self._window.release(stream)

    # ---- the rest of the frames ----

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        self._flood.window_update()
        if stream_id == 0:
            if increment == 0:
                raise Http2ConnectionError(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self.sender.widen_all(increment)
        else:
            stream = self._known(stream_id, "WINDOW_UPDATE")
            if stream is None:
                return
            if increment == 0:
                self._stream_error(stream, PROTOCOL_ERROR, "http2.window_update_by_0")
            elif not self.sender.widen(stream, increment):
                self._stream_error(stream, FLOW_CONTROL_ERROR, "http2.flow_control_error")
        self._pump()

    def _known(self, stream_id: int, what: str) -> Stream | None:
        """The stream, or None if it is closed. One that nobody opened is a fault."""
        stream = self.streams.get(stream_id)
        if stream is None and self._is_idle(stream_id):
            raise Http2ConnectionError(PROTOCOL_ERROR, f"{what} on stream {stream_id}, which nobody opened")
        return stream

    def _pump(self) -> None:
        for stream in self.sender.pump():
            self._events.append(StreamWritable(stream))

    def _rst_stream(self, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise Http2ConnectionError(PROTOCOL_ERROR, "RST_STREAM on stream 0")
        if len(payload) != 4:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        stream = self._known(stream_id, "RST_STREAM")
        if stream is not None:
            self._stats.rx_reset.value += 1
            self.sender.forget(stream)
            stream.remote_closed = True
            self.sender.remove(stream)
            code = int.from_bytes(payload, "big")
            self._events.append(StreamReset(stream, code, remote=True, refused=code == REFUSED_STREAM))

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise Http2ConnectionError(FRAME_SIZE_ERROR, "a SETTINGS acknowledgement with a payload")
            return
        if len(payload) % 6:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        self.peer.apply(frames.read_settings(payload), from_server=self.client)
        sender = self.sender
        sender.max_frame_size = self.peer.max_frame_size
        if self.peer.initial_window_size != sender.initial_window:
            sender.resize(self.peer.initial_window_size)
        sender.control(frames.SETTINGS_ACK)
        self._events.append(SettingsReceived())
        self._pump()

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "PING of a wrong length")
        if flags & frames.ACK:
            self._events.append(PingAcknowledged(payload))
        else:
            self.sender.control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        code = int.from_bytes(payload[4:8], "big")
        if self.client:
            for stream in [stream for stream in self.streams.values() if stream.id > last]:
                self.sender.forget(stream)
                self.sender.remove(stream)
                self._events.append(StreamReset(stream, code, remote=True, refused=True))
        self._events.append(GoawayReceived(last, code, payload[8:]))

    def _priority(self, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise Http2ConnectionError(PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._flood.priority()
        if len(payload) != 5:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
            stream = self.streams.get(stream_id)
            if stream is None:
                raise Http2ConnectionError(PROTOCOL_ERROR, "a stream that depends on itself")
            self._stream_error(stream, PROTOCOL_ERROR, "http2.self_dependency")

    # ---- sending ----

    def open(self, block: bytes, *, end: bool, bodiless_response: bool = False) -> Stream:
        """Begin a request (client). ``bodiless_response``: it is HEAD, so a response's content-length has no body."""
        stream_id = self.last_stream_id = self.last_stream_id + 2 if self.last_stream_id else 1
        stream = Stream(stream_id, self.sender.initial_window, self._window.of_streams)
        if bodiless_response:
            stream.expected = _UNBOUNDED
        self.streams[stream_id] = stream
        self._flood.stream_opened()
        self._stats.streams_active.value += 1
        self.sender.headers(stream, block, end=end)
        return stream

    def reset(self, stream: Stream, code: int) -> None:
        """Give the stream up: the peer is told, and what it still sends is ignored. Nothing happens on one that is over."""
        if stream.id in self.streams:
            self.sender.forget(stream)
            self.sender.remove(stream)
            self._reject(stream.id, code)

    def _stream_error(self, stream: Stream, code: int, detail: str) -> None:
        self.sender.forget(stream)
        self.sender.remove(stream)
        self._reject(stream.id, code)
        self._events.append(StreamReset(stream, code, remote=False, detail=detail))

    def _reject(self, stream_id: int, code: int) -> None:
        if code != NO_ERROR:
            self._stats.tx_reset.value += 1
        self.sender.control(frames.rst_stream(stream_id, code))
        resets = self._resets
        resets[stream_id] = None
        if len(resets) > _REMEMBERED_RESETS:
            del resets[next(iter(resets))]

    def goaway(self, last_stream_id: int, code: int = NO_ERROR, debug: bytes = b"") -> None:
        """Tell the peer that no stream beyond ``last_stream_id`` is served."""
        self._stats.goaway_sent.value += 1
        self.sender.out.append(frames.goaway(last_stream_id, code, debug))

    def refuse_new_streams(self) -> None:
        """The final GOAWAY of an orderly end: requests that come from now on are refused, and may be sent elsewhere."""
        self.going_away = True
        self.goaway(self.last_stream_id)

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life; ``payload`` is eight bytes."""
        self.sender.out.append(frames.frame(frames.PING, 0, 0, payload))

    def unblock(self) -> list[Event]:
        """The socket takes data again."""
        self.sender.blocked = False
        self._events = []
        self._pump()
        return self._events
