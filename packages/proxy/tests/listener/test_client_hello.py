"""ClientHellos of a real TLS library: whole, byte by byte, cut, in several records, damaged."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.listener.client_hello import ClientHello, Incomplete, NotTls, read_client_hello


def hello(
    server_name: str | None = None, protocols: list[str] | None = None, *, least: ssl.TLSVersion | None = None
) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    if least is not None:
        context.maximum_version = least
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


WHOLE = hello("Www.Example.COM", ["h2", "http/1.1"])
FOUND = ClientHello("www.example.com", ("h2", "http/1.1"))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (WHOLE, FOUND),
        (WHOLE + b"\x14\x03\x03\0\1\1", FOUND),
        (hello(), ClientHello()),
        (hello("a.b"), ClientHello("a.b")),
        (hello(None, ["x"]), ClientHello("", ("x",))),
        (hello("a.b", least=ssl.TLSVersion.TLSv1_2), ClientHello("a.b")),
    ],
)
def test_whole(data: bytes, found: ClientHello) -> None:
    assert read_client_hello(data) == found


def test_byte_by_byte_it_is_incomplete_to_the_last() -> None:
    for size in range(len(WHOLE)):
        answer = read_client_hello(WHOLE[:size])
        assert isinstance(answer, Incomplete)
        assert answer.handshake_bytes == (len(WHOLE) - 9 if size >= 9 else 0)
    assert read_client_hello(WHOLE) == FOUND


@given(st.lists(st.integers(1, len(WHOLE) - 6), max_size=4, unique=True).map(sorted))
def test_in_several_records(cuts: list[int]) -> None:
    message = WHOLE[5:]
    parts = [message[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    data = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in parts)
    assert read_client_hello(data) == FOUND
    for size in range(len(data)):
        assert isinstance(read_client_hello(data[:size]), Incomplete)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x02\x01",
        b"\x15\x03\x01\0\2\1\0",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\4\2\0\0\0",
        b"\x80\x2e\x01",
    ],
)
def test_other_protocols_are_known_from_their_first_bytes(data: bytes) -> None:
    with pytest.raises(NotTls):
        read_client_hello(data)


def with_extensions(*extensions: tuple[int, bytes]) -> bytes:
    block = b"".join(kind.to_bytes(2) + len(content).to_bytes(2) + content for kind, content in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(block).to_bytes(2) + block
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


def name(host: bytes, kind: int = 0) -> bytes:
    entry = bytes([kind]) + len(host).to_bytes(2) + host
    return len(entry).to_bytes(2) + entry


@pytest.mark.parametrize(
    "extensions",
    [
        [(0, name(b""))],
        [(0, name(b"a\0b"))],
        [(0, name(b"a", kind=1))],
        [(0, name(b"a"))] * 2,
        [(0, b"\0\xff")],
        [(16, b"\0\0")],
        [(16, b"\0\1\0")],
        [(16, b"\0\3\5ab")],
    ],
)
def test_malformed_extensions_make_it_no_client_hello(extensions: list[tuple[int, bytes]]) -> None:
    with pytest.raises(NotTls):
        read_client_hello(with_extensions(*extensions))


def test_extensions_that_say_nothing_are_passed_over() -> None:
    assert read_client_hello(with_extensions((10, b"xy"), (0, name(b"A.b")))) == ClientHello("a.b")


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    with contextlib.suppress(NotTls):
        read_client_hello(data)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_damaged_hellos(at: int, byte: int) -> None:
    data = bytearray(WHOLE)
    data[at] = byte
    with contextlib.suppress(NotTls):
        read_client_hello(bytes(data))
