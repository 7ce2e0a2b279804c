"""Pool decisions: idle last in first out, limits at n and n+1, waiting in order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.testing import Peer, answer_ok, eventually, forward, running_proxy
from isthmus_proxy.upstream.assignment import PoolState, Verdict

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Load:
    active_connections: int = 0
    active_requests: int = 0
    pending: int = 0


@pytest.mark.parametrize(
    ("load", "verdict"),
    [
        (Load(), Verdict.WAIT_AND_CONNECT),
        (Load(active_connections=3), Verdict.WAIT_AND_CONNECT),
        (Load(active_connections=4), Verdict.WAIT),
        (Load(active_requests=2), Verdict.WAIT_AND_CONNECT),
        (Load(active_requests=3), Verdict.REQUEST_OVERFLOW),
        (Load(pending=1), Verdict.WAIT_AND_CONNECT),
        (Load(pending=2), Verdict.PENDING_OVERFLOW),
    ],
)
def test_limits_at_n_and_n_plus_1(load: Load, verdict: Verdict) -> None:
    state: PoolState[str, str] = PoolState()
    state.total = 1
    assert state.ask(load, Thresholds(max_connections=4, max_requests=3, max_pending_requests=2)) is verdict


def test_an_empty_pool_may_always_open_one() -> None:
    state: PoolState[str, str] = PoolState()
    assert state.ask(Load(active_connections=9), Thresholds(max_connections=1)) is Verdict.WAIT_AND_CONNECT


def test_one_connection_is_opened_for_each_that_waits() -> None:
    state: PoolState[str, str] = PoolState()
    assert not state.wants_connection()
    state.pending.append("a")
    assert state.wants_connection()
    state.connecting = 1
    assert not state.wants_connection()


@pytest.mark.trio
async def test_max_requests_per_connection() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port, max_requests_per_connection=2)
        proxy.route(forward())
        proxy.http()
        for _ in range(5):
            assert (await proxy.get())[0] == 200
        assert origin.connections == 3
        assert proxy.stat("cluster.c.upstream_cx_max_requests") == 2


@pytest.mark.trio
async def test_idle_connections_time_out() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port, upstream_idle_timeout=0.02)
        proxy.route(forward())
        proxy.http()
        assert (await proxy.get())[0] == 200
        await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
        assert proxy.stat("cluster.c.upstream_cx_idle_timeout") == 1


@pytest.mark.trio
async def test_a_connect_that_takes_too_long() -> None:
    """A listener whose queue is full answers no SYN; the connect timeout ends the wait."""
    full = trio.socket.socket()
    await full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    fillers = [trio.socket.socket() for _ in range(4)]
    async with running_proxy() as proxy, trio.open_nursery() as nursery:
        for filler in fillers:
            nursery.start_soon(filler.connect, ("127.0.0.1", port))
        await trio.testing.wait_all_tasks_blocked()
        proxy.cluster("c", port, connect_timeout=0.05)
        proxy.route(forward())
        proxy.http()
        status, _, body = await proxy.get()
        nursery.cancel_scope.cancel()
    for sock in (full, *fillers):
        sock.close()
    assert (status, body.rpartition(b": ")[2]) == (503, b"connection timeout")
    assert proxy.logs.lines[0].flags == "UF"
    assert proxy.stat("cluster.c.upstream_cx_connect_timeout") == 1
    assert proxy.clusters.get("c").breakers[0].active_connections == 0  # type: ignore[union-attr]


@pytest.mark.trio
async def test_requests_that_wait_are_served_in_order_by_one_connection() -> None:
    async def echo(peer: Peer, _number: int) -> None:
        while True:
            head, _ = await peer.message()
            path = head.split(b" ")[1]
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))

    async with running_proxy() as proxy:
        origin = await proxy.origin(echo)
        proxy.cluster("c", origin.port, thresholds=Thresholds(max_connections=1))
        proxy.route(forward())
        proxy.http()
        peers = [await proxy.client() for _ in range(20)]
        for number, peer in enumerate(peers):
            await peer.send(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number)
        for number, peer in enumerate(peers):
            assert (await peer.message())[1] == b"/%d" % number
        assert origin.connections == 1
        assert proxy.stat("cluster.c.upstream_rq_pending_active") == 0


@pytest.mark.trio
async def test_a_client_that_waits_and_leaves_is_forgotten() -> None:
    release = trio.Event()

    async def slow(peer: Peer, number: int) -> None:
        await peer.message()
        await release.wait()
        await peer.send(OK)
        await answer_ok(peer, number)

    async with running_proxy() as proxy:
        origin = await proxy.origin(slow)
        proxy.cluster("c", origin.port, thresholds=Thresholds(max_connections=1))
        proxy.route(forward())
        proxy.http()
        first, second = await proxy.client(), await proxy.client()
        for peer in (first, second):
            await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 1)
        await eventually(lambda: proxy.stat("cluster.c.upstream_rq_pending_active") == 1)
        await second.close()
        await eventually(lambda: proxy.stat("cluster.c.upstream_rq_pending_active") == 0)
        release.set()
        assert (await first.message())[1] == b"ok"
        assert proxy.stat("cluster.c.upstream_rq_cancelled") == 1


@pytest.mark.trio
async def test_bytes_on_an_idle_connection_end_it() -> None:
    async def chatty(peer: Peer, number: int) -> None:
        await peer.message()
        await peer.send(OK)
        await peer.send(b"HTTP/1.1 408 Timeout\r\n\r\n")
        await peer.read_all()

    async with running_proxy() as proxy:
        origin = await proxy.origin(chatty)
        proxy.cluster("c", origin.port)
        proxy.route(forward())
        proxy.http()
        for _ in range(3):
            assert (await proxy.get())[0] == 200
            await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)


@pytest.mark.trio
async def test_each_priority_has_its_own_connections_and_limits() -> None:
    async with running_proxy() as proxy:
        release = trio.Event()

        async def hold(peer: Peer, _number: int) -> None:
            await peer.message()
            await release.wait()
            await peer.send(OK)

        origin = await proxy.origin(hold)
        proxy.cluster("c", origin.port, thresholds=Thresholds(max_requests=1))
        proxy.route(forward(prefix=b"/high", priority=1), forward())
        proxy.http()
        client = await proxy.client()
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await eventually(lambda: origin.connections == 1)
        assert proxy.stat("cluster.c.circuit_breakers.default.rq_open") == 1
        assert (await proxy.get())[0] == 503  # the default priority is full
        high = await proxy.client()
        await high.send(b"GET /high HTTP/1.1\r\nhost: a\r\n\r\n")
        await eventually(lambda: origin.connections == 2)
        release.set()
        assert b" 200 " in (await client.message())[0]
        assert b" 200 " in (await high.message())[0]
        assert proxy.stat("cluster.c.circuit_breakers.default.rq_open") == 0
        assert proxy.stat("cluster.c.circuit_breakers.default.cx_pool_open") == 0


@pytest.mark.trio
async def test_an_endpoint_takes_no_more_than_its_own_connections() -> None:
    async with running_proxy() as proxy:
        origin = await proxy.origin()
        proxy.cluster("c", origin.port, per_host_max_connections=1)
        proxy.route(forward())
        proxy.http()
        clients = [await proxy.client() for _ in range(4)]
        for client in clients:
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        for client in clients:
            assert b" 200 " in (await client.message())[0]
        assert origin.connections == 1


@pytest.mark.trio
async def test_no_more_pools_than_allowed_but_an_unused_one_makes_room() -> None:
    async with running_proxy() as proxy:
        gone = trio.Event()

        async def once(peer: Peer, _number: int) -> None:
            await peer.message()
            await peer.send(OK)
            await gone.wait()

        first, second = await proxy.origin(once), await proxy.origin(once)
        proxy.cluster("c", first.port, second.port, thresholds=Thresholds(max_connection_pools=1))
        proxy.route(forward())
        proxy.http()
        statuses = [(await proxy.get())[0] for _ in range(2)]
        assert sorted(statuses) == [200, 503]
        assert proxy.stat("cluster.c.upstream_cx_pool_overflow") == 1
        assert proxy.stat("cluster.c.circuit_breakers.default.cx_pool_open") == 1
        gone.set()
        await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
        assert [(await proxy.get())[0] for _ in range(1)] == [200]
