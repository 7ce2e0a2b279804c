"""What ``/drain_listeners`` asks for: which listeners stop, when, and how connections end before."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from isthmus_proxy.admin.lifecycle import DrainOrder
from isthmus_proxy.listener.graceful_drain import STEP_SECONDS, drain
from isthmus_proxy.listener.model import (
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    RdsReference,
    SocketAddress,
)
from isthmus_proxy.testing import Peer, forward, running_proxy

pytestmark = pytest.mark.trio

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Recorder:
    """Listeners that write down what is asked of them, and when."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, float, float]] = []
        self.inbound: set[bool] = set()
        self._began = trio.current_time()

    def _note(self, order: str, share: float, *, inbound_only: bool) -> None:
        self.orders.append((order, share, trio.current_time() - self._began))
        self.inbound.add(inbound_only)

    def stop(self, *, inbound_only: bool = False) -> None:
        self._note("stop", 1.0, inbound_only=inbound_only)

    def end_connections(self, share: float, *, inbound_only: bool = False) -> None:
        self._note("end", share, inbound_only=inbound_only)

    def close_after_responses(self, *, inbound_only: bool = False) -> None:
        self._note("close", 1.0, inbound_only=inbound_only)


@pytest.mark.parametrize("inbound", [False, True])
async def test_without_grace_listeners_stop_at_once(autojump_clock: trio.testing.MockClock, inbound: bool) -> None:
    recorder = Recorder()
    await drain(recorder, DrainOrder(inbound_only=inbound), 60.0, immediate=False)
    assert recorder.orders == [("stop", 1.0, 0.0)]
    assert recorder.inbound == {inbound}


async def test_gradually_means_evenly_over_the_drain_time(autojump_clock: trio.testing.MockClock) -> None:
    recorder = Recorder()
    await drain(recorder, DrainOrder(graceful=True), 4 * STEP_SECONDS, immediate=False)
    assert [(order, share) for order, share, _ in recorder.orders] == [
        ("end", 1 / 4),
        ("end", 1 / 3),
        ("end", 1 / 2),
        ("end", 1.0),
        ("close", 1.0),
        ("stop", 1.0),
    ]
    assert [at for _, _, at in recorder.orders] == pytest.approx([STEP_SECONDS * n for n in (1, 2, 3, 4, 4, 4)])


async def test_immediately_means_from_the_beginning_on(autojump_clock: trio.testing.MockClock) -> None:
    recorder = Recorder()
    await drain(recorder, DrainOrder(graceful=True, inbound_only=True), 60.0, immediate=True)
    assert recorder.orders == [("close", 1.0, 0.0), ("stop", 1.0, 60.0)]
    assert recorder.inbound == {True}


@pytest.mark.parametrize("immediate", [False, True])
async def test_who_keeps_listening_never_stops(autojump_clock: trio.testing.MockClock, immediate: bool) -> None:
    recorder = Recorder()
    await drain(recorder, DrainOrder(graceful=True, keep_listening=True), 1.0, immediate=immediate)
    assert recorder.orders[-1][:2] == ("close", 1.0)


async def ok(peer: Peer, _number: int) -> None:
    while True:
        await peer.message()
        await peer.send(OK)


@pytest.mark.parametrize("most_requests", [0, 5])
async def test_a_connection_ends_with_the_next_request_that_it_carries(most_requests: int) -> None:
    async with running_proxy() as proxy:
        proxy.cluster("c", (await proxy.origin(ok)).port)
        proxy.route(forward())
        proxy.http(max_requests_per_connection=most_requests)
        client, other = await proxy.client(), await proxy.client()
        for each in (client, other):
            await each.send(REQUEST)
            assert b"connection: close" not in (await each.message())[0]
        proxy.listeners.end_connections(1.0, inbound_only=True)
        await other.send(REQUEST)
        assert b"connection: close" not in (await other.message())[0]
        proxy.listeners.end_connections(1.0)
        await client.send(REQUEST)
        head, body = await client.message()
        assert (b"connection: close\r\n" in head, body) == (True, b"ok")
        assert await client.read_all() == b""
        later = await proxy.client()
        await later.send(REQUEST)
        assert b"connection: close" not in (await later.message())[0]
        proxy.listeners.close_after_responses()
        await later.send(REQUEST)
        assert b"connection: close\r\n" in (await later.message())[0]
        assert proxy.stat("http.test.downstream_cx_max_requests_reached") == (1 if most_requests else 0)


async def test_inbound_listeners_alone_stop_where_so_asked() -> None:
    async with running_proxy() as proxy:
        chain = FilterChain("", HttpConnectionManagerConfig("test", RdsReference("r")))
        inbound = proxy.open(ListenerConfig("in", SocketAddress("127.0.0.1", 0), (chain,), "1", inbound=True))
        outbound = proxy.open(ListenerConfig("out", SocketAddress("127.0.0.1", 0), (chain,), "1"))
        proxy.listeners.stop(inbound_only=True)
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", inbound)
        await (await trio.open_tcp_stream("127.0.0.1", outbound)).aclose()
        proxy.listeners.stop(inbound_only=True)
        assert proxy.stat("listener_manager.listener_stopped") == 1
