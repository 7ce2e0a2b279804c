"""Response heads and bodies: whole, in pieces, cut short, with bytes behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http1 import EndOfMessage, Event, HeadLimits, ParsedResponse, ResponseParser
from isthmus_proxy.codec.http1.serialise import chunk, reason_phrase, response_head, status_line
from isthmus_proxy.errors import ProtocolError

GOOD = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"GET", b"hello", True),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"GET", b"", True),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x\r\ncde\r\n0\r\nt: 1\r\n\r\n",
        b"GET",
        b"abcde",
        True,
    ),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"GET", b"", True),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"GET", b"", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HEAD", b"", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HEAD", b"", True),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        b"GET",
        b"x",
        False,
    ),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", b"GET", b"x", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", b"GET", b"x", True),
]

BAD = [
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 0200 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\n\n",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n",
    b"garbage\r\n\r\n",
]


def body_of(events: list[Event]) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


def feed(parser: ResponseParser, raw: bytes, step: int) -> list[Event]:
    events: list[Event] = []
    for start in range(0, len(raw), step):
        events += parser.receive(raw[start : start + step])
    return events


@pytest.mark.parametrize(("raw", "method", "body", "keep_alive"), GOOD)
@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_good_responses(raw: bytes, method: bytes, body: bytes, keep_alive: bool, step: int) -> None:
    parser = ResponseParser()
    for _ in range(2):
        parser.expect(method)
        assert not parser.started
        events = feed(parser, raw, step)
        assert parser.done
        assert body_of(events) == body
        assert parser.keep_alive == keep_alive
        assert parser.bodyless == (not isinstance(events[-1], EndOfMessage))


@pytest.mark.parametrize(("raw", "method", "body", "keep_alive"), GOOD)
def test_cut_short_is_an_error_at_the_end(raw: bytes, method: bytes, body: bytes, keep_alive: bool) -> None:
    for end in range(len(raw)):
        parser = ResponseParser()
        parser.expect(method)
        feed(parser, raw[:end], 10_000)
        assert not parser.done
        assert parser.started == (end > 0)
        with pytest.raises(ProtocolError):
            parser.eof()


@pytest.mark.parametrize(("raw", "method", "body", "keep_alive"), GOOD)
def test_bytes_behind_a_response_end_the_connection(raw: bytes, method: bytes, body: bytes, keep_alive: bool) -> None:
    parser = ResponseParser()
    parser.expect(method)
    assert body_of(list(parser.receive(raw + b"HTTP/1.1 200 OK\r\n"))) == body
    assert parser.done
    assert not parser.keep_alive
    with pytest.raises(ProtocolError):
        parser.receive(b"x")


@pytest.mark.parametrize("raw", BAD)
@pytest.mark.parametrize("step", [1, 10_000])
def test_malformed_responses(raw: bytes, step: int) -> None:
    parser = ResponseParser()
    parser.expect(b"GET")
    with pytest.raises(ProtocolError):
        feed(parser, raw, step)


def test_a_body_until_the_end_of_the_connection() -> None:
    parser = ResponseParser()
    parser.expect(b"GET")
    assert body_of(feed(parser, b"HTTP/1.1 200 OK\r\n\r\nabc", 1)) == b"abc"
    assert parser.in_body
    assert list(parser.eof()) == [EndOfMessage()]
    assert parser.done
    assert not parser.keep_alive


def test_switching_protocols_gives_the_first_bytes() -> None:
    parser = ResponseParser()
    parser.expect(b"GET", upgrade=True)
    events = list(parser.receive(b"HTTP/1.1 101 X\r\nUpgrade: a\r\n\r\nearly"))
    assert parser.switching
    assert body_of(events) == b"early"


def test_switching_protocols_unasked_is_an_error() -> None:
    parser = ResponseParser()
    parser.expect(b"GET", upgrade=True)
    parser.expect(b"GET")
    with pytest.raises(ProtocolError, match="unasked"):
        parser.receive(b"HTTP/1.1 101 X\r\nUpgrade: a\r\n\r\nearly")


def test_unsolicited_bytes_are_an_error() -> None:
    with pytest.raises(ProtocolError):
        ResponseParser().receive(b"HTTP/1.1 408 X\r\n\r\n")


@pytest.mark.parametrize(("size", "ok"), [(1000, True), (1001, False)])
def test_head_limit(size: int, ok: bool) -> None:
    start = b"HTTP/1.1 204 X\r\nA: "
    raw = start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"
    parser = ResponseParser(HeadLimits(max_bytes=1000))
    parser.expect(b"GET")
    if ok:
        assert isinstance(parser.receive(raw)[0], ParsedResponse)
    else:
        with pytest.raises(ProtocolError) as caught:
            parser.receive(raw)
        assert caught.value.detail == "http1.headers_too_large"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 40))
def test_chunks_written_are_read_again(pieces: list[bytes], step: int) -> None:
    head = response_head(200, [(b"transfer-encoding", b"chunked")])
    raw = head + b"".join(chunk(piece) for piece in pieces) + b"0\r\n\r\n"
    parser = ResponseParser()
    parser.expect(b"GET")
    assert body_of(feed(parser, raw, step)) == b"".join(pieces)
    assert parser.done


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"):
        parser = ResponseParser()
        parser.expect(b"GET")
        try:
            parser.receive(prefix + data)
        except ProtocolError:
            continue


def test_status_lines() -> None:
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(777) == b"HTTP/1.1 777 Unknown\r\n"
    assert reason_phrase(431) == "Request Header Fields Too Large"
