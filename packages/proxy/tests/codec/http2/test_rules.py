"""What a peer may not do: malformed messages cost the stream, broken framing the connection, floods are counted."""

from __future__ import annotations

import pytest

from isthmus_proxy.codec.http2 import errors, frames
from isthmus_proxy.codec.http2.codec import Http2Codec
from isthmus_proxy.codec.http2.events import HeadersReceived, StreamReset
from isthmus_proxy.codec.http2.hpack_encoder import encode
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.testing import GET, POST, codec

Fields = list[tuple[bytes, bytes]]
START = frames.PREFACE + frames.settings([])


def head(fields: Fields, stream_id: int = 1, *, end: bool = True) -> bytes:
    return frames.headers(stream_id, encode(fields), 16384, end_stream=end)


def without(name: bytes) -> Fields:
    return [field for field in GET if field[0] != name]


MALFORMED = [
    [*GET, (b"connection", b"close")],
    [*GET, (b"transfer-encoding", b"chunked")],
    [*GET, (b"upgrade", b"x")],
    [*GET, (b"keep-alive", b"x")],
    [*GET, (b"proxy-connection", b"x")],
    [*GET, (b"te", b"gzip")],
    [*GET, (b"Upper", b"x")],
    [*GET, (b"", b"x")],
    [*GET, (b"a:b", b"x")],
    [*GET, (b"a b", b"x")],
    [*GET, (b"a", b"x\r\nb: c")],
    [*GET, (b"a", b"x\x00")],
    [*GET, (b"content-length", b"1")],
    [*GET, (b"content-length", b"+0")],
    [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    [*GET, (b"host", b"a"), (b"host", b"b")],
    [*GET, (b":path", b"/")],
    [*GET, (b":status", b"200")],
    [*GET, (b":unknown", b"x")],
    [(b"a", b"b"), *GET],
    [*without(b":path"), (b":path", b"")],
    [*without(b":path"), (b":path", b"x")],
    [*without(b":path"), (b":path", b"/a b")],
    [*without(b":path"), (b":path", b"*")],
    [*without(b":authority"), (b":authority", b"a b")],
    [*without(b":authority"), (b":authority", b"user@a")],
    [*without(b":scheme"), (b":scheme", b"ftp")],
    [*without(b":method"), (b":method", b"GET /")],
    without(b":method"),
    without(b":scheme"),
    without(b":path"),
    [(b":method", b"CONNECT"), (b":path", b"/"), (b":authority", b"a")],
    [(b":method", b"CONNECT")],
]


@pytest.mark.parametrize("fields", MALFORMED)
def test_a_malformed_request_loses_its_stream_only(fields: Fields) -> None:
    ours, counts = codec()
    ours.sender.take()
    ours.receive(START)
    first = ours.receive(head(fields))
    again = ours.receive(head(fields, 3))  # the verdict was remembered with the block
    for events in (first, again):
        assert [type(event) for event in events] == [StreamReset]
    assert frames.rst_stream(1, errors.PROTOCOL_ERROR) in ours.sender.take()
    assert counts["rx_messaging_error"] == 2
    assert [type(event) for event in ours.receive(head(GET, 5))] == [HeadersReceived]


@pytest.mark.parametrize(
    "fields",
    [
        [*GET, (b"te", b"trailers")],
        [*GET, (b"a", b" padded\t")],
        [*GET, (b"a", b"\xff\t\x80")],
        [*GET, (b"content-length", b"0")],
        [(b":method", b"OPTIONS"), (b":scheme", b"https"), (b":path", b"*"), (b":authority", b"a")],
        [(b":method", b"CONNECT"), (b":authority", b"a:1")],
        [*without(b":authority"), (b"host", b"a")],
    ],
)
def test_what_is_odd_but_right_passes(fields: Fields) -> None:
    ours, _ = codec()
    assert isinstance(ours.receive(START + head(fields))[-1], HeadersReceived)


@pytest.mark.parametrize("body", [b"1234", b"123456"])
def test_a_body_of_another_length_loses_its_stream(body: bytes) -> None:
    ours, counts = codec()
    ours.receive(START + head([*POST, (b"content-length", b"5")], end=False))
    events = ours.receive(frames.frame(frames.DATA, frames.END_STREAM, 1, body))
    assert isinstance(events[-1], StreamReset)
    assert counts["rx_messaging_error"] == 1


@pytest.mark.parametrize("trailers", [[(b":path", b"/")], [(b"A", b"b")]])
def test_malformed_trailers_lose_the_stream(trailers: Fields) -> None:
    ours, _ = codec()
    events = ours.receive(START + head(POST, end=False) + head(trailers))
    assert isinstance(events[-1], StreamReset)


RESPONSES = [
    [(b"a", b"b")],
    [(b":status", b"20")],
    [(b":status", b"101")],
    [(b":status", b"099")],
    [(b":status", b"200"), (b":path", b"/")],
    [(b":status", b"200"), (b"connection", b"close")],
    [(b":status", b"103")],
    [(b":status", b"200"), (b"content-length", b"3")],
]


@pytest.mark.parametrize("fields", RESPONSES)
def test_a_malformed_response_loses_its_stream_only(fields: Fields) -> None:
    ours, counts = codec(client=True)
    ours.open(encode(GET), end=True)
    events = ours.receive(frames.settings([]) + head(fields))
    assert isinstance(events[-1], StreamReset)
    assert not events[-1].remote
    assert (ours.failure, counts["rx_messaging_error"], counts["streams_active"]) == (None, 1, 0)


@pytest.mark.parametrize(("status", "bodiless"), [(b"204", False), (b"304", False), (b"200", True)])
def test_a_length_without_a_body_is_right_where_there_is_none(status: bytes, bodiless: bool) -> None:
    ours, _ = codec(client=True)
    ours.open(encode(GET), end=True, bodiless_response=bodiless)
    events = ours.receive(frames.settings([]) + head([(b":status", status), (b"content-length", b"3")]))
    assert isinstance(events[-1], HeadersReceived)


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return frames.frame(kind, flags, stream_id, payload)


FATAL = [
    (frame(frames.DATA, 0, 0, b"x"), errors.PROTOCOL_ERROR),
    (frame(frames.HEADERS, 4, 0, b"\x82"), errors.PROTOCOL_ERROR),
    (frame(frames.HEADERS, 4, 2, encode(GET)), errors.PROTOCOL_ERROR),
    (frame(frames.HEADERS, 4 | 8, 1, b"\x05abc"), errors.PROTOCOL_ERROR),
    (frame(frames.HEADERS, 4 | 8, 1), errors.FRAME_SIZE_ERROR),
    (frame(frames.HEADERS, 4 | 32, 1, b"1234"), errors.FRAME_SIZE_ERROR),
    (frame(frames.HEADERS, 4, 1, b"\x80"), errors.COMPRESSION_ERROR),
    (frame(frames.HEADERS, 0, 1, encode(GET)) + frame(frames.PING, 0, 0, b"12345678"), errors.PROTOCOL_ERROR),
    (frame(frames.HEADERS, 0, 1, encode(GET)) + frame(frames.CONTINUATION, 4, 3), errors.PROTOCOL_ERROR),
    (frame(frames.CONTINUATION, 4, 1, b"\x82"), errors.PROTOCOL_ERROR),
    (frame(frames.DATA, 0, 5, b"x"), errors.PROTOCOL_ERROR),
    (frame(frames.RST_STREAM, 0, 5, b"1234"), errors.PROTOCOL_ERROR),
    (frame(frames.RST_STREAM, 0, 0, b"1234"), errors.PROTOCOL_ERROR),
    (frame(frames.RST_STREAM, 0, 1, b"123"), errors.FRAME_SIZE_ERROR),
    (frame(frames.WINDOW_UPDATE, 0, 5, b"\0\0\0\1"), errors.PROTOCOL_ERROR),
    (frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), errors.PROTOCOL_ERROR),
    (frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0"), errors.FRAME_SIZE_ERROR),
    (frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), errors.FLOW_CONTROL_ERROR),
    (frame(frames.SETTINGS, 0, 1), errors.PROTOCOL_ERROR),
    (frame(frames.SETTINGS, 0, 0, b"12345"), errors.FRAME_SIZE_ERROR),
    (frame(frames.SETTINGS, 1, 0, b"123456"), errors.FRAME_SIZE_ERROR),
    (frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 1 << 31)]), errors.FLOW_CONTROL_ERROR),
    (frames.settings([(frames.SETTINGS_MAX_FRAME_SIZE, 16383)]), errors.PROTOCOL_ERROR),
    (frames.settings([(frames.SETTINGS_MAX_FRAME_SIZE, 1 << 24)]), errors.PROTOCOL_ERROR),
    (frames.settings([(frames.SETTINGS_ENABLE_PUSH, 2)]), errors.PROTOCOL_ERROR),
    (frames.settings([(frames.SETTINGS_ENABLE_CONNECT_PROTOCOL, 2)]), errors.PROTOCOL_ERROR),
    (frame(frames.PING, 0, 0, b"1"), errors.FRAME_SIZE_ERROR),
    (frame(frames.PING, 0, 1, b"12345678"), errors.PROTOCOL_ERROR),
    (frame(frames.GOAWAY, 0, 1, b"12345678"), errors.PROTOCOL_ERROR),
    (frame(frames.GOAWAY, 0, 0, b"1234567"), errors.FRAME_SIZE_ERROR),
    (frame(frames.PRIORITY, 0, 0, b"12345"), errors.PROTOCOL_ERROR),
    (frame(frames.PRIORITY, 0, 1, b"1234"), errors.FRAME_SIZE_ERROR),
    (frame(frames.PRIORITY, 0, 1, b"\0\0\0\1\0"), errors.PROTOCOL_ERROR),
    (frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), errors.PROTOCOL_ERROR),
    (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", errors.FRAME_SIZE_ERROR),
    (head(GET) + head(GET, 3) + head(GET, 1), errors.STREAM_CLOSED),
]


def _answered(ours: Http2Codec) -> None:
    for stream in list(ours.streams.values()):
        ours.sender.headers(stream, encode([(b":status", b"200")]), end=True)


@pytest.mark.parametrize(("sent", "code"), FATAL)
def test_broken_framing_ends_the_connection(sent: bytes, code: int) -> None:
    ours, counts = codec()
    ours.receive(START)
    ours.sender.take()
    if code == errors.STREAM_CLOSED:
        ours.receive(sent[: len(sent) * 2 // 3])
        _answered(ours)
        sent = sent[len(sent) * 2 // 3 :]
    ours.receive(sent)
    assert ours.failure is not None
    assert ours.failure.code == code
    goaway = ours.sender.take()[-17 - len(ours.failure.message) :]
    assert goaway[3] == frames.GOAWAY
    assert int.from_bytes(goaway[13:17], "big") == code
    assert counts["goaway_sent"] == 1


def test_the_first_frame_has_to_be_settings() -> None:
    ours, _ = codec()
    ours.receive(frames.PREFACE + frame(frames.PING, 0, 0, b"12345678"))
    assert ours.failure is not None


def test_a_window_beyond_2_31_loses_the_stream() -> None:
    ours, _ = codec()
    ours.receive(START + head(GET))
    events = ours.receive(frame(frames.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"))
    assert isinstance(events[-1], StreamReset)
    assert events[-1].code == errors.FLOW_CONTROL_ERROR


def test_unknown_frames_and_settings_are_ignored() -> None:
    ours, _ = codec()
    ours.receive(START + frame(0x77, 255, 5, b"x") + frames.settings([(0x99, 7)]))
    assert ours.failure is None


# ---- limits and floods ----


def test_streams_beyond_the_limit_are_refused() -> None:
    ours, counts = codec(Http2Options(max_concurrent_streams=2))
    ours.receive(START + head(GET, 1) + head(GET, 3))
    ours.sender.take()
    assert ours.receive(head(GET, 5)) == []
    assert ours.sender.take() == frames.rst_stream(5, errors.REFUSED_STREAM)
    assert counts["stream_refused_errors"] == 1
    _answered(ours)
    assert [type(event) for event in ours.receive(head(GET, 7))] == [HeadersReceived]


def test_a_header_list_too_large_loses_its_stream_only() -> None:
    ours, counts = codec(Http2Options(max_list_size=1000))
    events = ours.receive(START + head([*GET, (b"a", b"x" * 900)]) + head(GET, 3))
    assert [type(event) for event in events[-2:]] == [StreamReset, HeadersReceived]
    assert counts["header_overflow"] == 1


def test_a_header_block_without_end_ends_the_connection() -> None:
    ours, counts = codec(Http2Options(max_list_size=10_000))
    ours.receive(START + frame(frames.HEADERS, 0, 1, b"\x00" * 10))
    for _ in range(3):
        ours.receive(frame(frames.CONTINUATION, 0, 1, b"\x00" * 16_000))
    assert ours.failure is not None
    assert ours.failure.code == errors.ENHANCE_YOUR_CALM
    assert counts["header_overflow"] == 1


def _fatal(sent: bytes, counter: str, *, before: bytes = b"", options: Http2Options | None = None) -> None:
    """``before`` is borne; ``sent`` after it ends the connection and is counted."""
    ours, counts = codec(options)
    ours.receive(START + before)
    assert counts[counter] == 0
    ours.receive(sent)
    assert ours.failure is not None
    assert ours.failure.code == errors.ENHANCE_YOUR_CALM
    assert counts[counter] == 1


def test_flood_of_continuations() -> None:
    one = frame(frames.CONTINUATION, 0, 1, b"\x82")
    _fatal(one, "inbound_continuation_flood", before=frame(frames.HEADERS, 0, 1, b"\x82") + one * 512)


def test_flood_of_empty_frames() -> None:
    one = frame(frames.DATA, 0, 1)
    some = frame(frames.DATA, 0, 1, b"x")
    _fatal(one, "inbound_empty_frames_flood", before=head(POST, end=False) + one + some + one)


def test_flood_of_priorities() -> None:
    one = frame(frames.PRIORITY, 0, 3, b"\0\0\0\0\0")
    _fatal(one, "inbound_priority_frames_flood", before=head(GET) + one * 200)


def test_flood_of_window_updates() -> None:
    one = frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
    _fatal(one, "inbound_window_update_frames_flood", before=head(GET) + one * 7)


@pytest.mark.parametrize("one", [frame(frames.PING, 0, 0, b"12345678"), frames.settings([])])
def test_flood_of_what_has_to_be_answered(one: bytes) -> None:
    _fatal(one, "outbound_control_flood", before=one * 999)


def test_answers_that_were_read_are_no_flood() -> None:
    ours, _ = codec()
    ours.receive(START)
    for _ in range(3000):
        ours.receive(frame(frames.PING, 0, 0, b"12345678"))
        ours.sender.take()
        ours.sender.all_sent()
    assert ours.failure is None


def test_resets_that_we_cause_are_counted_as_answers() -> None:
    ours, counts = codec()
    ours.receive(START)
    for number in range(1100):
        ours.receive(head([*GET, (b"te", b"x")], 1 + 2 * number))
    assert ours.failure is not None
    assert counts["outbound_control_flood"] == 1


def test_frames_nobody_reads_are_bounded() -> None:
    ours, counts = codec(Http2Options(max_outbound_frames=100))
    ours.receive(START)
    for number in range(102):
        ours.receive(head(GET, 1 + 2 * number))
        _answered(ours)
        ours.sender.take()
    assert ours.failure is not None
    assert counts["outbound_flood"] == 1
