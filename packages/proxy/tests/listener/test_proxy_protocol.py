"""PROXY headers of both versions: whole, byte by byte, with what follows, and wrong ones."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.listener.model import SocketAddress
from isthmus_proxy.listener.proxy_protocol import (
    MAX_BYTES,
    BadProxyHeaderError,
    NoProxyHeader,
    ProxyHeader,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = (SocketAddress("1.2.3.4", 5), SocketAddress("6.7.8.9", 10))
SIX = (SocketAddress("2001:db8::1", 5), SocketAddress("2001:db8::2", 10))


def v2(
    source: SocketAddress, destination: SocketAddress, tail: bytes = b"", *, command: int = 0x21, family: int = 0
) -> bytes:
    first, second = (ipaddress.ip_address(each.host) for each in (source, destination))
    body = first.packed + second.packed + source.port.to_bytes(2) + destination.port.to_bytes(2) + tail
    return SIGNATURE + bytes([command, family or (0x11 if first.version == 4 else 0x21)]) + len(body).to_bytes(2) + body


HEADERS = {
    b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n": ProxyHeader(1, 33, *FOUR),
    b"PROXY TCP6 2001:db8::1 2001:db8::2 5 10\r\n": ProxyHeader(1, 41, *SIX),
    b"PROXY UNKNOWN whatever\r\n": ProxyHeader(1, 24),
    b"PROXY UNKNOWN\r\n": ProxyHeader(1, 15),
    v2(*FOUR): ProxyHeader(2, 28, *FOUR),
    v2(*SIX): ProxyHeader(2, 52, *SIX),
    v2(*FOUR, b"\x04\0\0\xe0\0\2ab"): ProxyHeader(2, 36, *FOUR, ((4, b""), (0xE0, b"ab"))),
    v2(*FOUR, command=0x20): ProxyHeader(2, 28),
    SIGNATURE + b"\x20\0\0\0": ProxyHeader(2, 16),
    SIGNATURE + b"\x21\0\0\3abc": ProxyHeader(2, 19),
}


@pytest.mark.parametrize("data", HEADERS)
def test_whole_cut_and_with_more_behind(data: bytes) -> None:
    for size in range(len(data)):
        assert read_proxy_header(data[:size]) is None
    assert read_proxy_header(data) == HEADERS[data]
    assert read_proxy_header(data + b"GET / HTTP/1.1\r\n") == HEADERS[data]
    assert HEADERS[data].size == len(data)


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"PROXY TCP4 1.2.3.4 6.7.8.9 5\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10 11\r\n", 1),
        (b"PROXY TCP4 ::1 ::2 5 10\r\n", 1),
        (b"PROXY TCP6 fe80::1%1 ::2 5 10\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 6.7.8.9 5 65536\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 6.7.8.9 5 -1\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 6.7.8.9 5 0000001\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 6.7.8 5 6\r\n", 1),
        (b"PROXY UDP4 1.2.3.4 6.7.8.9 5 6\r\n", 1),
        (b"PROXY " + b"x" * 101, 1),
        (SIGNATURE + b"\x11\x11\0\x0c" + bytes(12), 2),
        (SIGNATURE + b"\x22\x11\0\x0c" + bytes(12), 2),
        (SIGNATURE + b"\x21\x12\0\x0c" + bytes(12), 2),
        (SIGNATURE + b"\x21\x11\0\x0b" + bytes(11), 2),
        (v2(*FOUR, b"\x04\0\5ab"), 2),
        (v2(*FOUR, b"\x04"), 2),
    ],
)
def test_wrong_headers(data: bytes, version: int) -> None:
    with pytest.raises(BadProxyHeaderError) as caught:
        read_proxy_header(data)
    assert caught.value.version == version


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PROXX", b"\r\n\r\nx", b"\x16"])
def test_something_else(data: bytes) -> None:
    with pytest.raises(NoProxyHeader):
        read_proxy_header(data)


def test_the_longest_header_fits() -> None:
    data = v2(*FOUR, b"\4\xff\xf0" + bytes(65520))
    assert len(data) == MAX_BYTES
    assert read_proxy_header(data) is not None


@given(st.sampled_from(sorted(HEADERS)), st.integers(0, 60), st.binary(max_size=4))
def test_damaged_headers(data: bytes, at: int, patch: bytes) -> None:
    with contextlib.suppress(NoProxyHeader, BadProxyHeaderError):
        read_proxy_header(data[:at] + patch + data[at + len(patch) :])
