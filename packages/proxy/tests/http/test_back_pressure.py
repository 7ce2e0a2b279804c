"""Slow readers and writers, and clients that leave: nothing piles up in a connection manager."""

from __future__ import annotations

import pytest
import trio

from isthmus_proxy.http.connection_manager import HttpConnectionManager
from isthmus_proxy.route.model import (
    DirectResponseAction,
    Route,
    RouteMatch,
    StringMatch,
)
from isthmus_proxy.testing import Peer, Proxy, eventually

pytestmark = pytest.mark.trio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def closes(peer: Peer) -> bool:
    return await peer.read_all() == b""


class Recorder:
    """An origin that keeps the messages it gets and answers each with ``answer``."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.messages: list[tuple[bytes, bytes]] = []

    async def __call__(self, peer: Peer, _number: int) -> None:
        while True:
            self.messages.append(await peer.message())
            await peer.send(self.answer)


@pytest.mark.parametrize("stage", range(6))
async def test_clients_that_go_away_at_every_stage(proxy: Proxy, stage: int) -> None:
    arrived = trio.Event()

    async def slow(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        arrived.set()
        if stage >= 4:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nsome")
        await peer.read_all()

    await proxy.relay(slow)
    peer = await proxy.client()
    if stage == 1:
        await peer.send(b"GET / HT")
    elif stage == 2:
        await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        await arrived.wait()
    elif stage >= 3:
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await arrived.wait()
        if stage >= 4:
            await peer.read_until(b"some")
    if stage == 5:
        peer.abort()
    else:
        await peer.close()
    await eventually(lambda: proxy.stat("http.test.downstream_cx_total") == 1 and proxy.listeners.connection_count == 0)
    if stage >= 2:
        await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
        assert proxy.logs.lines[0].flags == "DC"
        assert proxy.logs.lines[0].details == "downstream_remote_disconnect"
    assert proxy.stat("http.test.downstream_rq_active") == 0
    assert proxy.reactor.statistics().handler_errors == 0


def sound(proxy: Proxy) -> bool:
    """Whether nothing is left of what was going on."""
    gauges = ("cluster.c.upstream_cx_active", "cluster.c.upstream_rq_active", "http.test.downstream_rq_active")
    return proxy.listeners.connection_count == 0 and not any(proxy.stat(name) for name in gauges)


async def test_clients_that_reset_at_every_byte_of_their_request(proxy: Proxy) -> None:
    request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"

    async def silent(peer: Peer, _number: int) -> None:
        await peer.read_all()

    await proxy.relay(silent)
    for cut in range(len(request) + 1):
        peer = await proxy.client()
        if cut:
            await peer.send(request[:cut])
        peer.abort()
    # The kernel forgets some of them before they are accepted; all are over once a later one is served.
    last = await proxy.client()
    await last.send(request)
    await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 1)
    last.abort()
    await eventually(lambda: sound(proxy))
    assert proxy.reactor.statistics().handler_errors == 0


async def test_origins_that_reset_at_every_byte_of_their_answer(proxy: Proxy) -> None:
    """What has arrived before a reset may be lost with it, so that any status is right; none may be wrong for what follows."""
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    cut = 0

    async def cutting(peer: Peer, _number: int) -> None:
        await peer.message()
        if cut:
            await peer.send(answer[:cut])
        peer.abort()

    await proxy.relay(cutting)
    for size in range(len(answer)):
        cut = size
        peer = await proxy.client()
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        said = await peer.read_all()
        assert said.startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 503 ", b"HTTP/1.1 200 "))
        assert not said.endswith(b"0\r\n\r\n"), "an answer that is cut off does not look whole"
        await peer.close()
    await eventually(lambda: sound(proxy))
    assert proxy.reactor.statistics().handler_errors == 0


async def test_a_slow_reader_slows_its_origin_and_nothing_piles_up(proxy: Proxy) -> None:
    size, sent = 50_000_000, 0

    async def flood(peer: Peer, _number: int) -> None:
        nonlocal sent
        await peer.message()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        block = b"x" * 100_000
        while sent < size:
            await peer.stream.send_all(block)
            sent += len(block)

    await proxy.relay(flood)
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await peer.read_until(b"\r\n\r\n")

    stood_still = 0
    before = -1
    with trio.fail_after(20):
        while stood_still < 20:
            stood_still = stood_still + 1 if sent == before else 0
            before = sent
            await trio.sleep(0.005)
    assert sent < size // 2
    assert buffered(proxy) < 1_300_000
    await peer.discard(size)
    assert buffered(proxy) == 0


def buffered(proxy: Proxy) -> int:
    """Bytes that wait to be sent to clients."""
    listener = next(iter(proxy.listeners._listeners.values()))
    assert listener.current is not None
    manager = listener.current.chains[0].network_filter
    assert isinstance(manager, HttpConnectionManager)
    return sum(connection._connection.buffered for connection in manager.connections)


async def test_pipelining_without_reading_piles_up_no_answers(proxy: Proxy) -> None:
    body, count = b"x" * 100_000, 500
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, body)))
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * count)
    await eventually(lambda: buffered(proxy) > 1_000_000)
    assert buffered(proxy) < 1_300_000
    for _ in range(count):
        assert len((await peer.message())[1]) == len(body)
    assert buffered(proxy) == 0


async def test_a_slow_origin_slows_the_client(proxy: Proxy) -> None:
    go_on = trio.Event()
    size = 50_000_000  # far more than the kernel's buffers hold

    async def slow(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        await go_on.wait()
        await peer.discard(size)
        await peer.send(OK)

    await proxy.relay(slow)
    peer = await proxy.client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        await eventually(lambda: proxy.stat("http.test.downstream_flow_control_paused_reading_total") == 1)
        assert (proxy.stat("http.test.downstream_cx_rx_bytes_total") or 0) < size // 2
        go_on.set()
        assert (await peer.message())[1] == b"ok"


async def test_an_answer_before_the_request_ends_closes_the_connection_after_it(proxy: Proxy) -> None:
    async def early(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 X\r\ncontent-length: 2\r\n\r\nno")

    await proxy.relay(early)
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc")
    assert (await peer.message())[1] == b"no"
    assert await closes(peer)
