"""header_key_format: field names in the spelling that either side asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http1.spelling import PRESERVE_CASE, PRESERVE_OR_PROPER_CASE, PROPER, PROPER_CASE, remembered
from isthmus_proxy.testing import Peer, Proxy, forward, running_proxy

REQUEST = b"GET / HTTP/1.1\r\nHOST: a\r\nx-lower: 1\r\nX-mIxEd: 2\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nX-ANSWER: 1\r\nCONTENT-length: 2\r\n\r\nok"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


@pytest.mark.trio
@pytest.mark.parametrize(
    ("down", "up", "asked", "answered"),
    [
        ("", "", {b"host", b"x-mixed", b"x-request-id"}, {b"x-answer", b"content-length", b"server"}),
        (PROPER_CASE, "", {b"host", b"x-mixed"}, {b"X-Answer", b"Content-Length", b"Server"}),
        ("", PROPER_CASE, {b"Host", b"X-Mixed", b"X-Request-Id"}, {b"x-answer", b"server"}),
        (PRESERVE_CASE, "", {b"HOST", b"X-mIxEd", b"x-lower", b"x-request-id"}, {b"x-answer", b"server"}),
        (PRESERVE_OR_PROPER_CASE, PROPER_CASE, {b"HOST", b"x-lower", b"X-Request-Id"}, {b"x-answer", b"server"}),
        (PROPER_CASE, PRESERVE_CASE, {b"host", b"x-mixed"}, {b"X-ANSWER", b"CONTENT-length", b"server"}),
    ],
)
async def test_names_are_spelt_as_configured(
    proxy: Proxy, down: str, up: str, asked: set[bytes], answered: set[bytes]
) -> None:
    heads: list[bytes] = []

    async def answer(peer: Peer, _number: int) -> None:
        while True:
            heads.append(await peer.read_until(b"\r\n\r\n"))
            await peer.send(ANSWER)

    origin = await proxy.origin(answer)
    proxy.cluster("c", origin.port, header_key_format=up)
    proxy.route(forward())
    proxy.http(header_key_format=down)
    peer = await proxy.client()
    for _ in range(2):  # once more with everything remembered
        await peer.send(REQUEST)
        head = await peer.read_until(b"\r\n\r\n")
        assert await peer.read_exactly(2) == b"ok"
        assert asked <= names(heads.pop())
        assert answered <= names(head)


@pytest.mark.trio
async def test_the_proxys_own_answers_are_spelt_too(proxy: Proxy) -> None:
    proxy.route()
    proxy.http(header_key_format=PROPER_CASE)
    peer = await proxy.client()
    await peer.send(REQUEST)
    assert names(await peer.read_until(b"\r\n\r\n")) >= {b"Date", b"Server"}


def names(head: bytes) -> set[bytes]:
    return {line.partition(b":")[0] for line in head.split(b"\r\n")[1:-2]}


@pytest.mark.parametrize(
    ("name", "proper"),
    [
        (b"a", b"A"),
        (b"x-request-id", b"X-Request-Id"),
        (b"x1a-b2", b"X1a-B2"),
        (b"a_b--c", b"A_B--C"),
        (b"1st", b"1st"),
    ],
)
def test_words_begin_with_a_capital(name: bytes, proper: bytes) -> None:
    assert PROPER.of(name) == proper


@given(st.lists(st.text("abcXYZ-1_", min_size=1, max_size=5), max_size=6))
def test_what_is_remembered_differs_in_nothing_but_case_and_is_the_first_spelling(fields: list[str]) -> None:
    lines = [b"GET / HTTP/1.1", *(field.encode() + b": v" for field in fields)]
    spelling = remembered(lines, PRESERVE_CASE)
    assert spelling is not None
    head = b"".join([b"%b: v: w\r\n" % field.lower().encode() for field in fields])
    respelt = spelling.respell(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    assert respelt.lower() == b"http/1.1 200 ok\r\n" + head + b"\r\n"
    for field in fields:
        first = next(other for other in fields if other.lower() == field.lower())
        assert spelling.of(field.lower().encode()) == first.encode()
