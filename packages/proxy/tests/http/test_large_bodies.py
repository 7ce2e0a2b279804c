"""Large bodies of responses go past the proxy's own memory; nobody can tell but by how fast they are."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import trio

from isthmus_proxy.testing import Peer, Proxy, Script, eventually, forward, running_proxy

pytestmark = pytest.mark.trio

BODY = random.Random(11).randbytes(1_500_000)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY)
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


async def simple(proxy: Proxy, script: Script) -> None:
    origin = await proxy.origin(script)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http()


def splicing(proxy: Proxy) -> bool:
    """Whether a pipe was in use already."""
    return bool(proxy.reactor.pipes.in_use or proxy.reactor.pipes._spare)


async def answer(peer: Peer, _number: int) -> None:
    while True:
        await peer.message()
        await peer.send(HEAD + BODY)


async def test_bodies_and_what_follows_them_arrive_whole(proxy: Proxy) -> None:
    await simple(proxy, answer)
    peer = await proxy.client()
    for count in (1, 3):  # one by one, and pipelined
        await peer.send(GET * count)
        for _ in range(count):
            _, body = await peer.message()
            assert body == BODY
    assert splicing(proxy)
    assert proxy.stat("cluster.c.upstream_cx_total") == 1
    assert proxy.stat("cluster.c.upstream_cx_active") == 1
    assert (proxy.stat("cluster.c.upstream_cx_rx_bytes_total") or 0) == 4 * len(HEAD + BODY)
    assert (proxy.stat("http.test.downstream_cx_tx_bytes_total") or 0) > 4 * len(BODY)
    await eventually(lambda: len(proxy.logs.lines) == 4)
    assert {line.bytes_sent for line in proxy.logs.lines} == {len(BODY)}


async def test_an_origin_that_closes_behind_its_body(proxy: Proxy) -> None:
    async def once(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(HEAD + BODY)
        await peer.close()

    await simple(proxy, once)
    peer = await proxy.client()
    for _ in range(3):
        await peer.send(GET)
        assert (await peer.message())[1] == BODY
    assert proxy.stat("cluster.c.upstream_cx_total") == 3


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_origin_that_ends_in_the_middle_ends_the_clients_connection(proxy: Proxy, how: str) -> None:
    async def half(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(HEAD + BODY[:1_000_000])
        await eventually(lambda: splicing(proxy))
        if how == "reset":
            peer.abort()
        else:
            await peer.close()

    await simple(proxy, half)
    peer = await proxy.client()
    await peer.send(GET)
    await peer.read_until(b"\r\n\r\n")
    got = await peer.read_all()
    assert BODY.startswith(got)
    assert how == "reset" or len(got) == 1_000_000
    await eventually(lambda: len(proxy.logs.lines) == 1)
    assert proxy.logs.lines[0].flags == ("UC" if how == "reset" else "UPE")
    assert proxy.reactor.pipes.in_use == 0


async def test_a_client_that_leaves_ends_the_request(proxy: Proxy) -> None:
    await simple(proxy, answer)
    peer = await proxy.client()
    await peer.send(GET)
    await peer.read_until(b"\r\n\r\n")
    await eventually(lambda: splicing(proxy))
    peer.abort()
    await eventually(lambda: len(proxy.logs.lines) == 1)
    assert proxy.logs.lines[0].flags == "DC"
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
    assert proxy.reactor.pipes.in_use == 0


async def test_a_client_that_stops_reading_is_given_up_after_the_stream_idle_timeout(proxy: Proxy) -> None:
    body = BODY * 10

    async def flood(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    origin = await proxy.origin(flood)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    proxy.http(stream_idle_timeout=0.3)
    peer = await proxy.client()
    await peer.send(GET)
    await peer.read_until(b"\r\n\r\n")
    await eventually(lambda: len(proxy.logs.lines) == 1)
    assert proxy.logs.lines[0].flags == "SI"
    with trio.fail_after(20):
        got = await peer.read_all()
    assert body.startswith(got)
    assert len(got) < len(body)
    assert proxy.reactor.pipes.in_use == 0
