"""max_connection_duration: an old connection ends when it is idle, else with the response that it owes."""

from __future__ import annotations

import pytest
import trio

from isthmus_proxy.testing import Peer, eventually, forward, running_proxy

pytestmark = pytest.mark.trio


async def test_an_idle_connection_ends_at_its_age() -> None:
    async with running_proxy() as proxy:
        proxy.route(forward())
        proxy.http(max_connection_duration=0.05)
        peer = await proxy.client()
        assert await peer.read_all() == b""
        assert proxy.stat("http.test.downstream_cx_max_duration_reached") == 1


async def test_a_connection_in_use_ends_with_its_response() -> None:
    async with running_proxy() as proxy:
        old = trio.Event()

        async def slow(peer: Peer, _number: int) -> None:
            await peer.message()
            await old.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        origin = await proxy.origin(slow)
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        proxy.http(max_connection_duration=0.05)
        peer = await proxy.client()
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await eventually(lambda: proxy.stat("http.test.downstream_cx_max_duration_reached") == 1)
        old.set()
        head, body = await peer.message()
        assert b"connection: close\r\n" in head
        assert body == b"ok"
        assert await peer.read_all() == b""
