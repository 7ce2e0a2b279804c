"""Request heads and bodies: every case whole, byte by byte, cut short and with bytes behind; h11 and httptools as oracles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import pairwise

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http1 import (
    CHUNKED,
    LENGTH,
    NO_BODY,
    EndOfMessage,
    Event,
    HeadLimits,
    ParsedRequest,
    RequestParser,
    parse_request_head,
)
from isthmus_proxy.codec.http1.memo import MAX_ENTRIES, HeadMemo
from isthmus_proxy.codec.http1.serialise import request_head
from isthmus_proxy.errors import ProtocolError

H = b"Host: a.b\r\n"

GOOD = [
    b"GET / HTTP/1.1\r\n" + H + b"\r\n",
    b"GET /p?q=1&r HTTP/1.1\r\n" + H + b"X-A: 1\r\nx-a:2\r\nEmpty:\r\nT: \t v \t\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;e=1\r\n0123456789\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: Chunked\r\n\r\n1 \r\nx\r\n000\r\nX-T: 1\r\nY: 2\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n",
    b"M-SEARCH / HTTP/1.1\r\nHost:\r\n\r\n",
]

BAD = [
    (b"GET / HTTP/1.1\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\nHost: a\n\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: b\rc\r\n\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n c\r\n\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "http.invalid_authority"),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "http.invalid_authority"),
    (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "http.invalid_authority"),
    (b"GET http://a@b/ HTTP/1.1\r\n" + H + b"\r\n", 400, "http.invalid_authority"),
    (b"GET / HTTP/1.1\r\n" + H + b"A : b\r\n\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\n" + H + b"novalue\r\n\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\n" + H + b": v\r\n\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: \x00\r\n\r\n", 400, "http1.invalid_characters"),
    (b"GET / HTTP/1.1\r\n" + H + b"A: \x7f\r\n\r\n", 400, "http1.invalid_characters"),
    (b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"get / HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"FOO / HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET /\x80 HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET foo HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.10\r\n" + H + b"\r\n", 400, "http1.codec_error"),
    (b"GET / HTTP/1.0\r\n" + H + b"\r\n", 426, "low_version"),
    (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 426, "low_version"),
    (b"GET /\r\n\r\n", 426, "low_version"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "http1.codec_error"),
    *[
        (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: " + value + b"\r\n\r\n", 400, "http1.codec_error")
        for value in (b"", b"+2", b"-1", b"0x2", b"1_0", b"02", b"2, 2", b"9" * 19, b"\xb2")
    ],
    (
        b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "http1.content_length_and_chunked_not_allowed",
    ),
    *[
        (
            b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: " + value + b"\r\n\r\n",
            501,
            "http1.invalid_transfer_encoding",
        )
        for value in (
            b"gzip",
            b"gzip, chunked",
            b"chunked, gzip",
            b"xchunked",
            b"",
            b"chunked\r\nTransfer-Encoding: identity",
        )
    ],
    (b"\r\n" * 5 + b"GET / HTTP/1.1\r\n" + H + b"\r\n", 400, "http1.codec_error"),
]

CHUNKED_HEAD = b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n"

BAD_CHUNKS = [
    b"0x2\r\nab\r\n", b"+2\r\nab\r\n", b"2\nab\r\n", b"2\r\nab\n0\r\n\r\n", b"2\r\nabc\r\n", b"-1\r\n", b"\r\n", b"g\r\n",
    b"2;a\nb\r\nab\r\n", b"2;a\x00\r\nab\r\n", b"2;\rx\r\nab\r\n", b"1" * 17 + b"\r\n", b"2;" + b"x" * 5000, b"0\r\nA : b\r\n\r\n",
    b"0\r\nA: \x01\r\n\r\n", b"0\r\nno\r\n\r\n", b"0\r\nA: b\n\r\n", b" 2\r\nab\r\n", b"2 3\r\nab\r\n",
]  # fmt: skip


def flatten(events: Iterable[Event]) -> tuple[ParsedRequest | None, bytes, bool, tuple[tuple[bytes, bytes], ...]]:
    """(head, whole body, whether it ended, trailers)."""
    head, body, ended = None, b"", False
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    for event in events:
        if isinstance(event, ParsedRequest):
            head = event
            ended = event.end_stream
        elif isinstance(event, bytes):
            body += event
        elif isinstance(event, EndOfMessage):
            ended, trailers = True, event.trailers
    return head, body, ended, trailers


def feed(parser: RequestParser, raw: bytes, step: int) -> list[Event]:
    """Events of ``raw`` given in pieces of ``step`` bytes; raises what the parser raises or keeps."""
    events: list[Event] = []
    for start in range(0, len(raw), step):
        events += parser.receive(raw[start : start + step])
        if parser.error is not None:
            raise parser.error
    return events


@pytest.mark.parametrize("raw", GOOD)
@pytest.mark.parametrize("step", [1, 2, 3, 10_000])
def test_good_requests_whole_and_in_pieces(raw: bytes, step: int) -> None:
    memo: HeadMemo[ParsedRequest] = HeadMemo()
    expected = oracle(raw)
    for _ in range(2):  # the second time the head comes from the memo
        parser = RequestParser(memo=memo)
        head, body, ended, _ = flatten(feed(parser, raw, step))
        assert head is not None
        assert ended
        assert parser.done
        assert (head.method, head.path, head.authority, list(head.headers), body) == expected


def oracle(raw: bytes) -> tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """What h11 makes of ``raw``."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    host = next(value for name, value in request.headers if name == b"host")
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    if (b"transfer-encoding", b"chunked") in headers:  # h11 lowers its value
        headers = [(n, b"Chunked" if n == b"transfer-encoding" and b"Chunked" in raw else v) for n, v in headers]
    return request.method, request.target, host, headers, body


@pytest.mark.parametrize("raw", GOOD)
def test_cut_short_never_ends(raw: bytes) -> None:
    for end in range(len(raw)):
        parser = RequestParser()
        feed(parser, raw[:end], 10_000)
        assert not parser.done


@pytest.mark.parametrize("raw", GOOD)
@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_the_next_request_waits_its_turn(raw: bytes, step: int) -> None:
    parser = RequestParser()
    behind = b"GET /next HTTP/1.1\r\n" + H + b"\r\n"
    head, _, ended, _ = flatten(feed(parser, raw + behind, step))
    assert head is not None
    assert ended
    assert parser.unread == len(behind)
    following, _, _, _ = flatten(parser.next_request())
    assert following is not None
    assert following.path == b"/next"
    assert parser.unread == 0


@pytest.mark.parametrize(("raw", "status", "detail"), BAD)
@pytest.mark.parametrize("step", [1, 10_000])
def test_malformed_heads_are_refused_with_envoys_names(raw: bytes, status: int, detail: str, step: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        feed(RequestParser(), raw, step)
    assert (caught.value.status, caught.value.detail) == (status, detail)


@pytest.mark.parametrize("chunks", BAD_CHUNKS)
@pytest.mark.parametrize("step", [1, 10_000])
def test_malformed_chunks_are_refused(chunks: bytes, step: int) -> None:
    with pytest.raises(ProtocolError):
        feed(RequestParser(), CHUNKED_HEAD + chunks, step)


def test_trailers_are_given_and_limited() -> None:
    raw = CHUNKED_HEAD + b"0\r\nA: 1\r\nb: 2\r\n\r\n"
    assert flatten(feed(RequestParser(), raw, 1))[3] == ((b"a", b"1"), (b"b", b"2"))
    for lines in (b"a: 1\r\n" * 101, b"a: " + b"x" * 62000 + b"\r\n", (b"a: " + b"x" * 6000 + b"\r\n") * 11):
        with pytest.raises(ProtocolError) as caught:
            feed(RequestParser(), CHUNKED_HEAD + b"0\r\n" + lines + b"\r\n", 10_000)
        assert caught.value.status in (400, 431)


def head_of(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\n" + H + b"X: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("step", [1000, 100_000])
def test_head_size_limit_at_n_and_n_plus_1(step: int) -> None:
    limits = HeadLimits(max_bytes=5000, max_headers=10)
    assert flatten(feed(RequestParser(limits), head_of(5000), step))[2]
    with pytest.raises(ProtocolError) as caught:
        feed(RequestParser(limits), head_of(5001), step)
    assert (caught.value.status, caught.value.detail) == (431, "http1.headers_too_large")


def test_a_head_without_end_is_refused_at_the_limit() -> None:
    parser = RequestParser(HeadLimits(max_bytes=100))
    feed(parser, b"GET /" + b"a" * 95, 7)
    with pytest.raises(ProtocolError):
        parser.receive(b"a")


@pytest.mark.parametrize(("count", "ok"), [(99, True), (100, True), (101, False)])
def test_header_count_limit(count: int, ok: bool) -> None:
    raw = b"GET / HTTP/1.1\r\n" + H + b"a: b\r\n" * (count - 1) + b"\r\n"
    if ok:
        assert len(parse_request_head(raw).headers) == count - 1
    else:
        with pytest.raises(ProtocolError) as caught:
            parse_request_head(raw)
        assert (caught.value.status, caught.value.detail) == (431, "http1.too_many_headers")


def test_what_the_head_says_of_its_connection() -> None:
    request = parse_request_head(
        b"GET / HTTP/1.1\r\n" + H + b"Connection: Close, X-A,\r\nconnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert request.connection == [b"close", b"x-a", b"upgrade"]
    assert not request.keep_alive
    assert request.upgrade == b"websocket"
    plain = parse_request_head(b"GET / HTTP/1.1\r\n" + H + b"Upgrade: websocket\r\nExpect: 100-Continue\r\n\r\n")
    assert plain.keep_alive
    assert plain.upgrade is None
    assert plain.expect_continue


def test_absolute_form_replaces_the_host() -> None:
    request = parse_request_head(b"GET http://q.r:80/x?y HTTP/1.1\r\n" + H + b"\r\n")
    assert (request.authority, request.path, request.scheme) == (b"q.r:80", b"/x?y", b"http")
    assert parse_request_head(b"GET http://q.r HTTP/1.1\r\n" + H + b"\r\n").path == b"/"
    assert parse_request_head(b"GET http://q.r?a HTTP/1.1\r\n" + H + b"\r\n").path == b"/?a"
    assert parse_request_head(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").authority == b"a:1"
    for target in (b"http:///x", b"ftp://a/", b"http://a b/"):
        with pytest.raises(ProtocolError):
            parse_request_head(b"GET " + target + b" HTTP/1.1\r\n" + H + b"\r\n")


def test_http_10_where_it_is_accepted() -> None:
    request = parse_request_head(b"GET / HTTP/1.0\r\n\r\n", accept_http_10=True)
    assert (request.authority, request.keep_alive) == (b"", False)
    with pytest.raises(ProtocolError):
        parse_request_head(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", accept_http_10=True)


def test_refusals_of_well_formed_heads() -> None:
    assert parse_request_head(b"GET / HTTP/1.1\r\n\r\n").refusal == "missing_host_header"
    assert parse_request_head(b"GET /#f HTTP/1.1\r\n" + H + b"\r\n").refusal == "path_normalization_failed"


def test_framings() -> None:
    for raw, framing in zip(GOOD[1:5], (NO_BODY, LENGTH, NO_BODY, CHUNKED), strict=True):
        head, _, _, _ = flatten(RequestParser().receive(raw))
        assert head is not None
        assert head.framing == framing


def test_the_memo_is_bounded() -> None:
    memo: HeadMemo[ParsedRequest] = HeadMemo()
    parser = RequestParser(memo=memo)
    for number in range(MAX_ENTRIES + 5):
        parser.receive(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        parser.next_request()
    assert len(memo) == 5
    assert memo.resets == 1
    parser.receive(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2048 + b"\r\n\r\n")
    assert len(memo) == 5


TOKEN = st.text("abcXYZ019-_!~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b == 9 or 0x20 <= b != 0x7F).strip(b" \t"))
FRAMING = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}


@given(
    method=st.sampled_from([b"GET", b"POST", b"DELETE", b"PURGE"]),
    path=st.text("abc/?=&%._-~:@", max_size=30).map(lambda text: b"/" + text.encode()),
    headers=st.lists(st.tuples(TOKEN, VALUE).filter(lambda field: field[0].lower() not in FRAMING), max_size=12),
    body=st.binary(max_size=50),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_what_is_written_is_read_again_by_us_and_by_the_oracles(
    method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes, cuts: list[int]
) -> None:
    raw = request_head(method, path, b"a.b", [*headers, (b"content-length", b"%d" % len(body))]) + body
    parser = RequestParser()
    events: list[Event] = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    for start, end in pairwise(edges):
        events += parser.receive(raw[start:end])
    head, got, ended, _ = flatten(events)
    assert head is not None
    assert ended
    lowered = [(name.lower(), value) for name, value in headers]
    assert (head.method, head.path, list(head.headers)[:-1], got) == (method, path, lowered, body)
    seen: list[tuple[bytes, bytes]] = []

    class Watcher:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append((name.lower(), value.strip(b" \t")))

    httptools.HttpRequestParser(Watcher()).feed_data(raw)
    assert seen[1:-1] == lowered


@given(st.binary(max_size=300))
def test_noise_gives_events_or_a_protocol_error(data: bytes) -> None:
    for prefix in (b"", b"GET / HTTP/1.1\r\n", CHUNKED_HEAD):
        parser = RequestParser()
        with contextlib.suppress(ProtocolError):
            parser.receive(prefix + data)


@given(
    st.lists(
        st.sampled_from(["\r\n", "\n", "\r", " ", ":", "host", "a", "GET", "/", "HTTP/1.1", ",", "chunked", "0"]),
        max_size=30,
    )
)
def test_what_we_take_h11_takes_too(pieces: list[str]) -> None:
    """Being stricter than the oracle is allowed, being laxer is not."""
    raw = "".join(pieces).encode() + b"\r\n\r\n"
    parser = RequestParser()
    try:
        events = parser.receive(raw)
    except ProtocolError:
        return
    if not events or not isinstance(events[0], ParsedRequest) or events[0].refusal:
        return
    oracle(raw.lstrip(b"\r\n"))
