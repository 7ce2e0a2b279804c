"""HTTP or not, from whole request lines, byte by byte, and from what other protocols begin with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.listener.http_detection import HTTP2, HTTP10, HTTP11, MAX_BYTES, NOT_HTTP, PREFACE, detect


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n", HTTP11),
        (b"GET / HTTP/1.0\n", HTTP10),
        (b"\r\n\r\nM-SEARCH * HTTP/1.1\r\n", HTTP11),
        (PREFACE + b"\0\0\0", HTTP2),
        (b"GET / HTTP/2.0\r\n", NOT_HTTP),
        (b"GET /\r\n", NOT_HTTP),
        (b"PRI * HTTP/2.1\r\n", NOT_HTTP),
        (b"\x16\x03\x01", NOT_HTTP),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NOT_HTTP),
        (b"(\n", NOT_HTTP),
        (b"\0", NOT_HTTP),
        (b"x" * 33, NOT_HTTP),
        (b"\r\n" * 8, NOT_HTTP),
        (b"GET /" + b"a" * MAX_BYTES, NOT_HTTP),
    ],
)
def test_whole(data: bytes, found: str) -> None:
    assert detect(data) == found


@pytest.mark.parametrize("data", [b"OPTIONS * HTTP/1.1\r\n", PREFACE, b"\nGET /a?b HTTP/1.0\n"])
def test_byte_by_byte_only_the_last_tells(data: bytes) -> None:
    assert [detect(data[:size]) for size in range(1, len(data))] == [None] * (len(data) - 1)
    assert detect(data)


@given(st.binary(max_size=200))
def test_an_answer_stays_when_more_comes(data: bytes) -> None:
    first = detect(data)
    if first is not None:
        assert detect(data + b"more") == first
