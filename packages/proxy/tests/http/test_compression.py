"""Compression: libraries bring back what they took, however it is cut; bodies that expand beyond measure are refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.filters.compression import decompressor as down
from isthmus_proxy.http.filters.compression.accept_encoding import (
    FOUND_IDENTITY,
    FOUND_WILDCARD,
    IDENTITY,
    NOT_VALID,
    USED,
    choose,
)
from isthmus_proxy.http.filters.compression.compressor import CompressorConfig, Direction
from isthmus_proxy.http.filters.compression.library import (
    FREE,
    BrotliCompressor,
    BrotliDecompressor,
    Compressor,
    CompressorLibrary,
    DecompressionError,
    Decompressor,
    DecompressorLibrary,
    GzipCompressor,
    GzipDecompressor,
    ZstdCompressor,
    ZstdDecompressor,
)
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.testing import Peer, Proxy, forward, running_proxy


@dataclass(frozen=True)
class Library:
    compressor: Callable[[], Compressor]
    decompressor: Callable[[], Decompressor]
    whole: Callable[[bytes], bytes]


LIBRARIES = {
    "gzip": Library(
        lambda: GzipCompressor(-1, 12, 5, zlib.Z_DEFAULT_STRATEGY), lambda: GzipDecompressor(15, 100), gzip.compress
    ),
    "br": Library(lambda: BrotliCompressor(3, 18), BrotliDecompressor, brotli.compress),
    "zstd": Library(lambda: ZstdCompressor(3, checksum=True), ZstdDecompressor, zstandard.compress),
}


@pytest.mark.parametrize("coding", list(LIBRARIES))
@given(pieces=st.lists(st.binary(max_size=300), max_size=8), flushes=st.booleans(), step=st.integers(1, 50))
def test_what_was_compressed_comes_back(coding: str, pieces: list[bytes], flushes: bool, step: int) -> None:
    library = LIBRARIES[coding]
    compressor, decompressor = library.compressor(), library.decompressor()
    data = b""
    for piece in pieces:
        data += compressor.compress(piece) + (compressor.flush() if flushes else b"")
    data += compressor.finish()
    plain = b"".join(decompressor.decompress(data[start : start + step]) for start in range(0, len(data), step))
    assert plain == b"".join(pieces)


@pytest.mark.parametrize("coding", list(LIBRARIES))
def test_what_is_flushed_can_be_read(coding: str) -> None:
    compressor, decompressor = LIBRARIES[coding].compressor(), LIBRARIES[coding].decompressor()
    for word in (b"first", b"second"):
        assert decompressor.decompress(compressor.compress(word) + compressor.flush()) == word


@pytest.mark.parametrize("coding", list(LIBRARIES))
def test_a_bomb_is_refused_before_it_has_expanded(coding: str) -> None:
    bomb = LIBRARIES[coding].whole(bytes(64 << 20))
    decompressor = LIBRARIES[coding].decompressor()
    with pytest.raises(DecompressionError, match="expands"):
        decompressor.decompress(bomb)


@pytest.mark.parametrize("coding", list(LIBRARIES))
def test_what_expands_a_little_is_not(coding: str) -> None:
    plain = bytes(FREE - 1)
    assert LIBRARIES[coding].decompressor().decompress(LIBRARIES[coding].whole(plain)) == plain


@pytest.mark.parametrize("coding", list(LIBRARIES))
def test_what_is_no_such_coding_is_refused(coding: str) -> None:
    with pytest.raises(DecompressionError):
        LIBRARIES[coding].decompressor().decompress(b"this was never compressed by anyone at all" * 10)


BOTH = ["gzip", "br"]


@pytest.mark.parametrize(
    ("header", "first", "expected"),
    [
        (b"gzip", (), ("gzip", USED)),
        (b"br, gzip", (), ("br", USED)),
        (b"br, gzip", ("gzip",), ("gzip", USED)),
        (b"br;q=0.9, gzip;q=0.8", ("gzip",), ("br", USED)),
        (b"*", (), ("gzip", FOUND_WILDCARD)),
        (b"gzip;q=0, *", (), ("br", FOUND_WILDCARD)),
        (b"gzip;q=0, br;q=0, *", (), (IDENTITY, NOT_VALID)),
        (b"identity", (), (IDENTITY, FOUND_IDENTITY)),
        (b"zstd", (), (IDENTITY, NOT_VALID)),
        (b"gzip;q=", (), (IDENTITY, NOT_VALID)),
        (b"", (), (IDENTITY, NOT_VALID)),
    ],
)
def test_the_client_chooses(header: bytes, first: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert choose(header, BOTH, first) == expected


@given(st.binary(max_size=40))
def test_no_header_breaks_the_choice(header: bytes) -> None:
    assert choose(header, BOTH)[0] in (IDENTITY, *BOTH)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


def compressing(coding: str) -> HttpFilterConfig:
    library = CompressorLibrary(coding, coding, LIBRARIES[coding].compressor)
    return HttpFilterConfig("c", CompressorConfig("text", library, Direction(), request=Direction()))


def decompressing(coding: str) -> HttpFilterConfig:
    library = DecompressorLibrary(coding, coding, LIBRARIES[coding].decompressor)
    return HttpFilterConfig("d", down.DecompressorConfig("text", library, down.Direction(), down.Direction()))


def body_of(head: bytes, body: bytes) -> bytes:
    if b"chunked" not in head:
        return body
    plain = b""
    while body:
        length, _, body = body.partition(b"\r\n")
        plain, body = plain + body[: int(length, 16)], body[int(length, 16) + 2 :]
    return plain


@pytest.mark.trio
@pytest.mark.parametrize("coding", list(LIBRARIES))
@pytest.mark.parametrize("kind", ["compressor", "decompressor"])
async def test_bodies_pass_both_ways(proxy: Proxy, coding: str, kind: str) -> None:
    """An echo of what came: through a compressor both ends are plain and the upstream's request is not, through a decompressor it is."""
    seen: list[tuple[bytes, bytes]] = []
    text = b"text that repeats itself, text that repeats itself, and again. " * 50

    async def echo(peer: Peer, _number: int) -> None:
        head, body = await peer.message()
        seen.append((head, body_of(head, body)))
        answer = LIBRARIES[coding].whole(text) if kind == "decompressor" else text
        fields = b"content-encoding: %b\r\n" % coding.encode() if kind == "decompressor" else b""
        await peer.send(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (fields, len(answer), answer))
        await peer.read_all()

    origin = await proxy.origin(echo)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http(http_filters=((decompressing if kind == "decompressor" else compressing)(coding),))
    peer = await proxy.client()
    sent = LIBRARIES[coding].whole(text) if kind == "decompressor" else text
    field = b"content-encoding: " if kind == "decompressor" else b"accept-encoding: "
    head = b"POST / HTTP/1.1\r\nhost: a.b\r\n" + field + coding.encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(sent)
    await peer.send(head + sent)
    answer_head, answer = await peer.message()
    answer, (seen_head, got) = body_of(answer_head, answer), seen[0]
    mark = b"content-encoding: " + coding.encode()
    if kind == "compressor":
        assert mark in answer_head
        assert mark in seen_head
        plain = [LIBRARIES[coding].decompressor().decompress(each) for each in (answer, got)]
        assert plain == [text, text]
    else:
        assert mark not in answer_head + seen_head
        assert (answer, got) == (text, text)


@pytest.mark.trio
async def test_a_request_that_cannot_be_decompressed_is_answered_400(proxy: Proxy) -> None:
    origin = await proxy.origin()
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http(http_filters=(decompressing("gzip"),))
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a.b\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc")
    assert (await peer.message())[0].startswith(b"HTTP/1.1 400")
