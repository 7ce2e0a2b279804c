"""Interim responses (1xx): passed on between both versions of HTTP where proxy_100_continue says so, and swallowed where it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from isthmus_proxy.http.testing import Http2Peer, http2_client, serving
from isthmus_proxy.testing import Peer, Proxy, forward, running_proxy

pytestmark = pytest.mark.trio

HINTS = (b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nkeep-alive: 1\r\n\r\n")
POST = b"POST / HTTP/1.1\r\nhost: a.b\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as made:
        yield made


async def http1_origin(peer: Peer, _number: int) -> None:
    while True:
        await peer.message()
        for hint in HINTS:
            await peer.send(hint)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def http2_origin(peer: Http2Peer) -> None:
    while True:
        await peer.until(lambda: peer.ended)
        await peer.respond([(":status", "102")])
        await peer.respond([(":status", "103"), ("link", "</a.css>")])
        await peer.respond([(":status", "200"), ("content-length", "2")])
        await peer.send(b"ok", end=True)
        peer.ended = False


async def served(proxy: Proxy, *, http2: bool, **options: Any) -> None:
    if http2:
        proxy.cluster("c", (await proxy.origin(serving(http2_origin))).port, http2=True)
    else:
        proxy.cluster("c", (await proxy.origin(http1_origin)).port)
    proxy.route(forward())
    proxy.http(**options)


async def read_until(peer: Peer, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        more = await peer.read()
        if not more:
            raise EOFError(data)
        data += more
    return data


@pytest.mark.parametrize("upstream_http2", [False, True])
async def test_they_pass_to_clients_of_http1(proxy: Proxy, upstream_http2: bool) -> None:
    await served(proxy, http2=upstream_http2, proxy_informational=True)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n")
    data = await read_until(peer, b"\r\n\r\nok")
    assert data.startswith(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Unknown\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"
    )
    assert proxy.stat("http.test.downstream_rq_1xx") == 2
    assert proxy.stat("cluster.c.upstream_rq_103") == 1
    assert proxy.stat("cluster.c.upstream_rq_200") == 1


@pytest.mark.parametrize("upstream_http2", [False, True])
async def test_they_pass_to_clients_of_http2(proxy: Proxy, upstream_http2: bool) -> None:
    await served(proxy, http2=upstream_http2, proxy_informational=True)
    client = await http2_client(await proxy.client())
    await client.request([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.b")])
    await client.until(lambda: client.ended)
    assert client.informational == [{":status": "102"}, {":status": "103", "link": "</a.css>"}]
    assert (client.fields[":status"], client.body) == ("200", b"ok")


@pytest.mark.parametrize("upstream_http2", [False, True])
async def test_they_are_swallowed_where_nobody_asked(proxy: Proxy, upstream_http2: bool) -> None:
    await served(proxy, http2=upstream_http2)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n")
    assert (await read_until(peer, b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert proxy.stat("cluster.c.upstream_rq_103") == 1
    assert proxy.stat("http.test.downstream_rq_1xx") == 0


async def test_a_client_of_http_10_gets_the_final_one_alone(proxy: Proxy) -> None:
    await served(proxy, http2=False, proxy_informational=True, accept_http_10=True)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.0\r\nhost: a.b\r\n\r\n")
    assert (await read_until(peer, b"\r\n\r\nok")).startswith(b"HTTP/1.0 200 OK\r\n")


async def test_the_endpoint_says_whether_to_continue(proxy: Proxy) -> None:
    heads: list[bytes] = []
    asked = trio.Event()

    async def script(peer: Peer, _number: int) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await peer.read()
        heads.append(data)
        asked.set()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not data.endswith(b"hi"):
            data += await peer.read()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    proxy.cluster("c", (await proxy.origin(script)).port)
    proxy.route(forward())
    proxy.http(proxy_informational=True)
    peer = await proxy.client()
    await peer.send(POST)
    assert await read_until(peer, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"\r\nexpect: 100-continue\r\n" in heads[0]
    await peer.send(b"hi")
    assert (await read_until(peer, b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK\r\n")
