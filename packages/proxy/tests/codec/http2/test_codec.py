"""The codec against ``h2`` in both roles: messages, flow control, settings, the order of a connection's end."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http2 import errors, frames
from isthmus_proxy.codec.http2.codec import Http2Codec
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
from isthmus_proxy.codec.http2.hpack_encoder import encode
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.testing import GET, POST, codec

OK = encode([(b":status", b"200")])


def oracle(*, client: bool = True) -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
    connection.initiate_connection()
    return connection


def exchange(ours: Http2Codec, theirs: h2.connection.H2Connection) -> tuple[list[Event], list[h2.events.Event]]:
    """Pass bytes to and fro until neither side has anything to say."""
    got: list[Event] = []
    heard: list[h2.events.Event] = []
    while True:
        from_us = ours.sender.take()
        if from_us:
            heard += theirs.receive_data(from_us)
        from_them = theirs.data_to_send()
        if from_them:
            got += ours.receive(from_them)
        if not from_us and not from_them:
            return got, heard


def described(events: list[Event]) -> list[object]:
    """Events as values, adjacent data joined."""
    said: list[object] = []
    for event in events:
        if isinstance(event, HeadersReceived):
            said.append(("headers", event.stream.id, event.block.fields, event.end))
        elif isinstance(event, DataReceived):
            said.append(("data", event.stream.id, event.data, event.end))
        elif isinstance(event, TrailersReceived):
            said.append(("trailers", event.stream.id, event.fields))
        elif isinstance(event, StreamReset):
            said.append(("reset", event.stream.id, event.code, event.remote))
        elif not isinstance(event, SettingsReceived):
            said.append(type(event).__name__)
    return said


def served() -> tuple[Http2Codec, h2.connection.H2Connection]:
    """A server of ours that has exchanged settings with a client of h2's."""
    ours, _ = codec()
    theirs = oracle()
    exchange(ours, theirs)
    return ours, theirs


def asked() -> tuple[Http2Codec, h2.connection.H2Connection]:
    """A client of ours that has exchanged settings with a server of h2's."""
    ours, _ = codec(client=True)
    theirs = oracle(client=False)
    exchange(ours, theirs)
    return ours, theirs


def test_a_request_and_its_response() -> None:
    ours, theirs = served()
    theirs.send_headers(1, POST)
    theirs.send_data(1, b"body", pad_length=7)
    theirs.send_headers(1, [(b"checksum", b"1")], end_stream=True)
    events, _ = exchange(ours, theirs)
    assert described(events) == [
        ("headers", 1, tuple(POST), False),
        ("data", 1, b"body", False),
        ("trailers", 1, ((b"checksum", b"1"),)),
    ]
    stream = ours.streams[1]
    ours.sender.headers(stream, encode([(b":status", b"103"), (b"link", b"x")]), end=False)
    ours.sender.headers(stream, OK, end=False)
    ours.sender.data(stream, b"answer", end=False)
    ours.sender.headers(stream, encode([(b"grpc-status", b"0")]), end=True)
    heard = exchange(ours, theirs)[1]
    assert [type(event).__name__ for event in heard] == [
        "InformationalResponseReceived", "ResponseReceived", "DataReceived", "TrailersReceived", "StreamEnded",
    ]  # fmt: skip
    assert not ours.streams


def test_as_a_client() -> None:
    ours, theirs = asked()
    stream = ours.open(encode(POST), end=False)
    ours.sender.data(stream, b"abc", end=True)
    heard = exchange(ours, theirs)[1]
    assert [type(event).__name__ for event in heard] == ["RequestReceived", "DataReceived", "StreamEnded"]
    theirs.send_headers(1, [(b":status", b"103")])
    theirs.send_headers(1, [(b":status", b"200"), (b"content-length", b"2")])
    theirs.send_data(1, b"hi")
    theirs.send_headers(1, [(b"grpc-status", b"0")], end_stream=True)
    events, _ = exchange(ours, theirs)
    assert described(events) == [
        ("headers", 1, ((b":status", b"103"),), False),
        ("headers", 1, ((b":status", b"200"), (b"content-length", b"2")), False),
        ("data", 1, b"hi", False),
        ("trailers", 1, ((b"grpc-status", b"0"),)),
    ]
    assert not ours.streams


@given(st.lists(st.integers(0, 700), max_size=12))
def test_however_the_bytes_are_cut(cuts: list[int]) -> None:
    theirs = oracle()
    theirs.send_headers(1, [*POST, (b"x", b"y" * 90)])
    theirs.send_data(1, b"d" * 300, pad_length=20)
    theirs.send_data(1, b"e", end_stream=True)
    theirs.ping(b"12345678")
    theirs.send_headers(3, GET, end_stream=True)
    data = theirs.data_to_send()
    whole = codec()[0]
    expected = described(whole.receive(data))
    ours = codec()[0]
    ours.sender.take()
    events: list[Event] = []
    edges = sorted({min(cut, len(data)) for cut in cuts})
    for start, end in zip([0, *edges], [*edges, len(data)], strict=True):
        if start < end:
            events += ours.receive(data[start:end])
    assert described(events) == expected
    whole.sender.out[:2] = []
    assert ours.sender.take() == whole.sender.take()


def test_bytewise_and_cut_short() -> None:
    theirs = oracle()
    theirs.send_headers(1, POST)
    theirs.send_data(1, b"d" * 30, end_stream=True)
    data = theirs.data_to_send()
    ours = codec()[0]
    events: list[Event] = []
    for position in range(len(data) - 1):
        events += ours.receive(data[position : position + 1])
    assert described(events) == [("headers", 1, tuple(POST), False)]
    assert described(ours.receive(data[-1:] + b"trailing")) == [("data", 1, b"d" * 30, True)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40_000)), max_size=12), st.integers(0, 70_000))
def test_bodies_arrive_whole_whatever_the_windows(writes: list[tuple[int, int]], window: int) -> None:
    ours = codec()[0]
    theirs = oracle()
    theirs.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    for number in range(4):
        theirs.send_headers(1 + 2 * number, GET, end_stream=True)
    exchange(ours, theirs)
    streams = [ours.streams[1 + 2 * number] for number in range(4)]
    sent = [b"", b"", b"", b""]
    for stream in streams:
        ours.sender.headers(stream, OK, end=False)
    for number, length in writes:
        piece = bytes([number]) * length
        sent[number] += piece
        ours.sender.data(streams[number], piece, end=False)
    for stream in streams:
        ours.sender.data(stream, b"", end=True)
    got = {stream.id: b"" for stream in streams}
    for _ in range(len(writes) * 100 + 100):
        heard = exchange(ours, theirs)[1]
        for event in heard:
            if isinstance(event, h2.events.DataReceived) and event.stream_id is not None:
                got[event.stream_id] += event.data or b""
        for stream in streams:
            if stream.id in ours.streams:
                theirs.increment_flow_control_window(20_000, stream.id)
        if ours.streams:
            theirs.increment_flow_control_window(20_000)
        else:
            break
    assert got == {stream.id: sent[number] for number, stream in enumerate(streams)}
    assert sum(stream.queued for stream in streams) == 0


def test_data_waits_for_the_window_and_trailers_wait_behind_it() -> None:
    ours, theirs = served()
    theirs.send_headers(1, GET, end_stream=True)
    exchange(ours, theirs)
    stream = ours.streams[1]
    ours.sender.headers(stream, OK, end=False)
    ours.sender.data(stream, b"x" * 70_000, end=False)
    ours.sender.headers(stream, encode([(b"t", b"1")]), end=True)
    assert stream.queued == 70_000 - 65_535
    exchange(ours, theirs)
    theirs.increment_flow_control_window(10_000)
    theirs.increment_flow_control_window(10_000, 1)
    events, heard = exchange(ours, theirs)
    assert [type(event) for event in events] == [StreamWritable]
    assert [type(event).__name__ for event in heard] == ["DataReceived", "TrailersReceived", "StreamEnded"]


def test_a_blocked_socket_holds_data_back() -> None:
    ours, theirs = served()
    theirs.send_headers(1, GET, end_stream=True)
    exchange(ours, theirs)
    stream = ours.streams[1]
    ours.sender.blocked = True
    ours.sender.data(stream, b"x", end=True)
    assert (ours.sender.take(), stream.queued) == (b"", 1)
    assert [type(event) for event in ours.unblock()] == [StreamWritable]
    assert ours.sender.take() == frames.frame(frames.DATA, frames.END_STREAM, 1, b"x")


def test_credit_is_given_in_halves_of_the_window_and_withheld_on_demand() -> None:
    options = Http2Options(initial_stream_window_size=65_536, initial_connection_window_size=131_072)
    ours = codec(options)[0]
    theirs = oracle()
    exchange(ours, theirs)
    theirs.send_headers(1, POST)
    for _ in range(2):
        theirs.send_data(1, b"x" * 16_000)
    exchange(ours, theirs)
    assert theirs.local_flow_control_window(1) == 65_536 - 32_000
    theirs.send_data(1, b"x" * 1_000)
    exchange(ours, theirs)
    assert theirs.local_flow_control_window(1) == 65_536
    ours.withhold(ours.streams[1])
    for _ in range(4):
        theirs.send_data(1, b"x" * 16_000)
    exchange(ours, theirs)
    assert theirs.local_flow_control_window(1) == 65_536 - 64_000
    ours.release(ours.streams[1])
    exchange(ours, theirs)
    assert theirs.local_flow_control_window(1) == 65_536


def test_more_data_than_the_window_is_refused() -> None:
    options = Http2Options(initial_stream_window_size=65_535, initial_connection_window_size=200_000)
    ours = codec(options)[0]
    ours.receive(frames.PREFACE + frames.settings([]) + frames.headers(1, encode(POST), 16384, end_stream=False))
    ours.withhold(ours.streams[1])
    piece = frames.frame(frames.DATA, 0, 1, b"x" * 16_384)
    taken = [("data", 1, b"x" * 16_384, False)] * 3
    assert described(ours.receive(piece * 4)) == [*taken, ("reset", 1, errors.FLOW_CONTROL_ERROR, False)]


def test_settings_change_the_windows_of_open_streams() -> None:
    ours, theirs = served()
    theirs.send_headers(1, GET, end_stream=True)
    exchange(ours, theirs)
    theirs.update_settings(
        {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10, h2.settings.SettingCodes.MAX_FRAME_SIZE: 20_000}
    )
    exchange(ours, theirs)
    assert (ours.streams[1].send_window, ours.sender.max_frame_size) == (10, 20_000)


def test_resets_both_ways() -> None:
    ours, theirs = served()
    theirs.send_headers(1, POST)
    theirs.send_headers(3, POST)
    exchange(ours, theirs)
    first, second = ours.streams[1], ours.streams[3]
    theirs.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
    theirs.send_data(3, b"in flight")
    ours.reset(second, errors.NO_ERROR)
    events, heard = exchange(ours, theirs)
    assert described(events) == [("reset", 1, errors.CANCEL, True)]
    assert [type(event) for event in heard] == [h2.events.StreamReset]
    assert not ours.streams
    ours.reset(first, errors.CANCEL)
    assert not ours.sender.out


def test_goaway_refuses_streams_beyond_it() -> None:
    ours, theirs = asked()
    for _ in range(2):
        ours.open(encode(GET), end=True)
    exchange(ours, theirs)
    theirs.close_connection(h2.errors.ErrorCodes.NO_ERROR, last_stream_id=1)
    events, _ = exchange(ours, theirs)
    assert isinstance(events[0], StreamReset)
    assert (events[0].stream.id, events[0].refused) == (3, True)
    assert isinstance(events[1], GoawayReceived)
    assert list(ours.streams) == [1]


def test_an_orderly_end_refuses_what_comes_late() -> None:
    ours, theirs = served()
    theirs.send_headers(1, GET, end_stream=True)
    late = oracle()
    exchange(ours, theirs)
    ours.goaway(2**31 - 1)
    ours.refuse_new_streams()
    late.send_headers(3, GET, end_stream=True)
    ours.sender.take()
    ours.receive(frames.headers(3, encode(GET), 16384, end_stream=True))
    assert ours.sender.take() == frames.rst_stream(3, errors.REFUSED_STREAM)
    assert list(ours.streams) == [1]


def test_pings_are_answered_and_answers_told() -> None:
    ours, theirs = served()
    theirs.ping(b"abcdefgh")
    heard = exchange(ours, theirs)[1]
    assert [type(event) for event in heard] == [h2.events.PingAckReceived]
    ours.ping(b"12345678")
    events, _ = exchange(ours, theirs)
    assert [event.payload for event in events if isinstance(event, PingAcknowledged)] == [b"12345678"]


def test_extended_connect_only_where_it_was_offered() -> None:
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
    block = frames.headers(1, encode(fields), 16384, end_stream=False)
    for allowed in (False, True):
        ours = codec(Http2Options(allow_connect=allowed))[0]
        assert (b"\x00\x08\x00\x00\x00\x01" in ours.sender.take()) is allowed
        events = ours.receive(frames.PREFACE + frames.settings([]) + block)
        assert isinstance(events[-1], HeadersReceived if allowed else StreamReset)


def test_a_large_head_takes_continuations_both_ways() -> None:
    ours, theirs = served()
    fields = [*GET, (b"big", b"x" * 40_000)]
    theirs.send_headers(1, fields, end_stream=True)
    events, _ = exchange(ours, theirs)
    assert described(events) == [("headers", 1, tuple(fields), True)]
    ours.sender.headers(ours.streams[1], encode([(b":status", b"200"), (b"big", b"y" * 40_000)]), end=True)
    heard = exchange(ours, theirs)[1]
    assert [type(event) for event in heard] == [h2.events.ResponseReceived, h2.events.StreamEnded]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_do_no_harm(data: bytes, client: bool) -> None:
    ours = codec(client=client)[0]
    ours.receive(frames.settings([]) if client else frames.PREFACE + frames.settings([]))
    if client:
        ours.open(encode(GET), end=False)
    ours.receive(data)
    ours.receive(data)
    assert ours.failure is None or ours.sender.out


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=20)), max_size=20)
)
def test_any_frames_do_no_harm(sent: list[tuple[int, int, int, bytes]]) -> None:
    ours, counts = codec()
    ours.receive(frames.PREFACE + frames.settings([]) + frames.headers(1, encode(POST), 16384, end_stream=False))
    for kind, flags, stream_id, payload in sent:
        for event in ours.receive(frames.frame(kind, flags, stream_id, payload)):
            if isinstance(event, HeadersReceived) and event.end:
                ours.sender.headers(event.stream, OK, end=True)
    assert counts["streams_active"] == len(ours.streams)


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSX"])
def test_another_greeting_is_no_http2(greeting: bytes) -> None:
    ours = codec()[0]
    assert ours.receive(greeting) == []
    assert ours.failure is not None
    assert ours.failure.code == errors.PROTOCOL_ERROR
    assert ours.receive(b"more") == []
