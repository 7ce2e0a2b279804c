"""HTTP/2 in both roles: frames at random, mostly right and some of them wrong, and conversations with ``h2``."""

from __future__ import annotations

import random

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack

from isthmus_proxy.codec.http2 import frames
from isthmus_proxy.codec.http2.codec import Http2Codec
from isthmus_proxy.codec.http2.events import DataReceived, Event, HeadersReceived, StreamReset, TrailersReceived
from isthmus_proxy.codec.http2.hpack_encoder import encode
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.testing import GET, POST, Counts, codec

OK = encode([(b":status", b"200"), (b"content-type", b"text/plain")])
_STREAMS = (0, 1, 1, 1, 3, 3, 5, 7, 9, 2, 0x7FFFFFFF)
_NAMES = (
    b":path",
    b":method",
    b":status",
    b":authority",
    b"cookie",
    b"content-length",
    b"x",
    b"X",
    b"te",
    b"",
    b"transfer-encoding",
)
_VALUES = (b"/", b"GET", b"200", b"trailers", b"5", b"-1", b"a b", b"\0", b"\r\n", b"y" * 300, b"")


def _fields(choose: random.Random, *, client: bool) -> list[tuple[bytes, bytes]]:
    fields = [(b":status", b"200")] if client else list(choose.choice((GET, POST)))
    for _ in range(choose.choice((0, 0, 1, 3, 12))):
        field = (choose.choice(_NAMES), choose.choice(_VALUES))
        fields.insert(choose.randrange(len(fields) + 1) if choose.random() < 0.2 else len(fields), field)
    return fields


class _Script:
    """Frames that a peer might send, with one HPACK state, damaged now and then."""

    def __init__(self, choose: random.Random, *, client: bool) -> None:
        self._choose = choose
        self._client = client
        self._encoder = hpack.Encoder()

    def frames(self, count: int) -> bytes:
        """So many frames; damage is rare enough that most conversations go on for a while."""
        choose = self._choose
        data = bytearray(b"".join(self._frame() for _ in range(count)))
        for _ in range(choose.choice((0, 0, 0, 0, 1, 3))):
            if data:
                data[choose.randrange(len(data))] = choose.randrange(256)
        return bytes(data)

    def _frame(self) -> bytes:
        choose = self._choose
        stream_id = choose.choice(_STREAMS)
        kind = choose.choice((0, 0, 0, 1, 1, 1, 2, 3, 4, 6, 7, 8, 8, 9, 5, 11))
        flags = choose.choice((0, 1, 4, 5, 5, 4, 8, 32, 255))
        if kind == frames.HEADERS:
            return self._headers(stream_id, flags)
        if kind == frames.DATA:
            return frames.frame(kind, flags & 9, stream_id, choose.randbytes(choose.choice((0, 1, 5, 100, 16384))))
        if kind == frames.SETTINGS:
            pairs = [
                (choose.randrange(10), choose.choice((0, 1, 100, 65535, 1 << 20, 1 << 31)))
                for _ in range(choose.randrange(4))
            ]
            return frames.settings(pairs)
        if kind in (frames.WINDOW_UPDATE, frames.RST_STREAM):
            return frames.frame(kind, 0, stream_id, choose.choice((0, 1, 8, 65535, 0x7FFFFFFF)).to_bytes(4, "big"))
        if kind == frames.GOAWAY:
            return frames.goaway(
                choose.choice((0, 1, 5, 0x7FFFFFFF)), choose.randrange(16), choose.randbytes(choose.randrange(9))
            )
        return frames.frame(kind, flags, stream_id, choose.randbytes(choose.choice((0, 4, 5, 8, 8, 9, 40))))

    def _headers(self, stream_id: int, flags: int) -> bytes:
        choose = self._choose
        block = self._encoder.encode(_fields(choose, client=self._client), huffman=choose.random() < 0.5)
        if choose.random() < 0.1:
            self._encoder.header_table_size = choose.choice((0, 100, 4096))
        if choose.random() < 0.05:
            block = choose.randbytes(choose.randrange(60))
        if flags & 4 or len(block) < 2:
            return frames.headers(stream_id, block, choose.choice((16, 100, 16384)), end_stream=bool(flags & 1))
        cut = choose.randrange(len(block))
        first = frames.frame(frames.HEADERS, flags & 1, stream_id, block[:cut])
        return first + frames.frame(frames.CONTINUATION, 4, stream_id, block[cut:])


def _described(events: list[Event]) -> list[object]:
    """Events as values; data joined, since cuts between reads may not be seen."""
    said: list[object] = []
    for event in events:
        if isinstance(event, HeadersReceived):
            said.append(("headers", event.stream.id, event.block.fields, event.end))
        elif isinstance(event, DataReceived):
            said.append(("data", event.stream.id, event.data, event.end))
        elif isinstance(event, TrailersReceived):
            said.append(("trailers", event.stream.id, event.fields))
        elif isinstance(event, StreamReset):
            said.append(("reset", event.stream.id, event.code, event.remote, event.refused))
        else:
            said.append(type(event).__name__)
    return said


def _fresh(*, client: bool) -> tuple[Http2Codec, Counts]:
    made, counts = codec(Http2Options(max_concurrent_streams=5, allow_connect=True), client=client)
    if client:
        for _ in range(4):
            made.open(encode(GET), end=False)
    else:
        made.receive(frames.PREFACE)
    made.receive(frames.settings([]))
    return made, counts


def _check(made: Http2Codec, counts: Counts) -> None:
    assert counts["streams_active"] == len(made.streams), "the gauge of streams is not their number"
    assert all(stream.send_window <= frames.MAX_WINDOW for stream in made.streams.values())
    output = made.sender.take()
    position = len(frames.PREFACE) if output.startswith(frames.PREFACE) else 0
    while position < len(output):
        position += frames.HEADER_BYTES + int.from_bytes(output[position : position + 3], "big")
    assert position == len(output), "what is sent is not whole frames"


def _any_frames(choose: random.Random, *, client: bool) -> None:
    data = _Script(choose, client=client).frames(choose.randrange(1, 25))
    whole, counts = _fresh(client=client)
    events = whole.receive(data)
    pieces, _ = _fresh(client=client)
    told: list[Event] = []
    position = 0
    while position < len(data):
        size = choose.choice((1, 2, 9, 10, 100, 20000))
        told += pieces.receive(data[position : position + size])
        position += size
    assert _described(events) == _described(told), "cuts between reads change what is told"
    assert (whole.failure is None) == (pieces.failure is None)
    assert whole.sender.take() == pieces.sender.take(), "cuts between reads change what is answered"
    for event in events:
        if isinstance(event, HeadersReceived) and not client:
            whole.sender.headers(event.stream, OK, end=choose.random() < 0.5)
            whole.sender.data(
                event.stream, choose.randbytes(choose.choice((0, 10, 100_000))), end=choose.random() < 0.5
            )
    for stream in list(whole.streams.values()):
        if choose.random() < 0.3:
            whole.reset(stream, 8)
    whole.receive(_Script(choose, client=client).frames(5))
    _check(whole, counts)


def any_frames_to_a_server(choose: random.Random) -> None:
    """A server told anything by a client."""
    _any_frames(choose, client=False)


def any_frames_to_a_client(choose: random.Random) -> None:
    """A client with open streams told anything by a server."""
    _any_frames(choose, client=True)


class _Talk:
    """Our codec and ``h2`` as client and server, either way round; each sends bodies, whose bytes have to arrive."""

    def __init__(self, choose: random.Random, *, client: bool) -> None:
        self._choose = choose
        self._client = client
        self.ours, self.counts = codec(client=client)
        self.theirs = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=not client, header_encoding=None)
        )
        self.theirs.initiate_connection()
        self.sent: dict[int, bytearray] = {}
        self.got: dict[int, bytearray] = {}
        self.waiting: dict[int, bytearray] = {}

    def open(self) -> None:
        """A request with a body that the server will send back."""
        choose = self._choose
        body = bytearray(choose.randbytes(choose.choice((0, 1, 1000, 16384, 70_000))))
        if self._client:
            stream = self.ours.open(encode(POST), end=False)
            stream_id = stream.id
            self.ours.sender.data(stream, bytes(body), end=True)
        else:
            stream_id = self.theirs.get_next_available_stream_id()
            self.theirs.send_headers(stream_id, POST)
            self.waiting[stream_id] = bytearray(body)
        self.sent[stream_id], self.got[stream_id] = body, bytearray()

    def turn(self) -> bool:
        """Pass on what either side has to say; False when both are silent."""
        from_us = self.ours.sender.take()
        for event in self.theirs.receive_data(from_us) if from_us else ():
            self._heard(event)
        self._send_waiting()
        from_them = self.theirs.data_to_send()
        for told in self.ours.receive(from_them) if from_them else ():
            self._told(told)
        assert self.ours.failure is None, f"our side gave up: {self.ours.failure}"
        return bool(from_us or from_them)

    def _send_waiting(self) -> None:
        for stream_id, body in list(self.waiting.items()):
            room = min(self.theirs.local_flow_control_window(stream_id), self.theirs.max_outbound_frame_size, len(body))
            if room or not body:
                self.theirs.send_data(stream_id, bytes(body[:room]), end_stream=room == len(body))
                del body[:room]
                if not body:
                    del self.waiting[stream_id]

    def _heard(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.theirs.send_headers(event.stream_id, [(b":status", b"200")])
        elif isinstance(event, h2.events.DataReceived):
            self.got[event.stream_id] += event.data
            self.theirs.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded) and self._client:
            self.waiting[event.stream_id] = bytearray(self.got[event.stream_id])
            self.got[event.stream_id] = bytearray()

    def _told(self, event: Event) -> None:
        if isinstance(event, HeadersReceived) and not self._client:
            event.stream.owner = bytearray()
            self.ours.sender.headers(event.stream, OK, end=False)
        elif isinstance(event, DataReceived) and self._client:
            self.got[event.stream.id] += event.data
        elif isinstance(event, DataReceived):
            assert isinstance(event.stream.owner, bytearray)
            event.stream.owner += event.data
            if event.end:
                self.ours.sender.data(event.stream, bytes(event.stream.owner), end=True)


def _conversation(choose: random.Random, *, client: bool) -> None:
    talk = _Talk(choose, client=client)
    for _ in range(choose.randrange(1, 6)):
        talk.open()
        for _ in range(choose.randrange(3)):
            talk.turn()
    while talk.turn():
        pass
    assert talk.got == talk.sent, "a body did not come back as it was sent"
    assert not talk.ours.streams, "streams are left over"
    assert talk.counts["streams_active"] == 0


def conversation_as_a_client(choose: random.Random) -> None:
    """Requests to ``h2``, which sends their bodies back."""
    _conversation(choose, client=True)


def conversation_as_a_server(choose: random.Random) -> None:
    """Requests of ``h2``, whose bodies are sent back."""
    _conversation(choose, client=False)


CASES = (any_frames_to_a_server, any_frames_to_a_client, conversation_as_a_client, conversation_as_a_server)
