"""Trailers go through where both connections enable them, and are dropped everywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from isthmus_proxy.codec.http1.serialise import last_chunk
from isthmus_proxy.testing import Peer, Proxy, forward, running_proxy

pytestmark = pytest.mark.trio

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nX-R: 2\r\nHost: b\r\n\r\n"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


@pytest.mark.parametrize(("down", "up"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("step", [1, 1000])
async def test_trailers_pass_where_both_sides_enable_them(proxy: Proxy, down: bool, up: bool, step: int) -> None:
    bodies: list[bytes] = []

    async def answer(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        bodies.append(await peer.read_until(b"\r\n0\r\n") + await peer.read_until(b"\r\n"))
        if bodies[-1].endswith(b"x-t: 1\r\n"):
            bodies[-1] += await peer.read_until(b"\r\n")
        for start in range(0, len(ANSWER), step):
            await peer.send(ANSWER[start : start + step])
        await peer.read_all()

    origin = await proxy.origin(answer)
    proxy.cluster("c", origin.port, enable_trailers=up)
    proxy.route(forward())
    proxy.http(enable_trailers=down)
    peer = await proxy.client()
    for start in range(0, len(REQUEST), step):
        await peer.send(REQUEST[start : start + step])
    await peer.read_until(b"\r\n\r\n")
    got = await peer.read_until(b"\r\n0\r\n") + await peer.read_until(b"\r\n")
    passed = down and up
    assert got.endswith(b"x-r: 2\r\n" if passed else b"0\r\n\r\n")
    if passed:
        assert await peer.read_until(b"\r\n") == b"\r\n"
    assert bodies[0].endswith(b"0\r\nx-t: 1\r\n\r\n" if passed else b"0\r\n\r\n")
    assert b"content-length" not in bodies[0]


async def test_framing_and_routing_fields_are_no_trailers() -> None:
    fields = [(b"host", b"b"), (b"transfer-encoding", b"chunked"), (b"content-length", b"1"), (b"x", b"1")]
    assert last_chunk(fields) == b"0\r\nx: 1\r\n\r\n"
    assert last_chunk([]) == b"0\r\n\r\n"
