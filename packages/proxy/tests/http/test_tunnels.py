"""Upgrades and CONNECT: who may, what it becomes, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from isthmus_proxy.route.model import ClusterWeight, ForwardAction, Route, RouteMatch, StringMatch
from isthmus_proxy.testing import Peer, Proxy, Script, eventually, running_proxy

pytestmark = pytest.mark.trio

UPGRADE = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n\r\n"
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"
WEBSOCKET, TUNNEL = frozenset({b"websocket"}), frozenset({b"connect"})


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


async def websocket(peer: Peer, _number: int) -> None:
    """Accept the upgrade, greet, and answer four bytes."""
    assert b"upgrade: WebSocket\r\n" in await peer.read_until(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")
    await peer.send((await peer.read_exactly(4)).upper())


async def upper(peer: Peer, _number: int) -> None:
    """A server of no HTTP at all."""
    await peer.send((await peer.read_exactly(4)).upper())


async def serve(proxy: Proxy, script: Script, *routes: Route, types: frozenset[bytes] = frozenset()) -> None:
    origin = await proxy.origin(script)
    proxy.cluster("c", origin.port)
    proxy.route(*routes)
    proxy.http(upgrade_types=types, delayed_close_timeout=0.02)


def route(
    *upgrades: tuple[bytes, bool], kind: str = "prefix", terminates: bool = False, idle: float | None = None
) -> Route:
    match = StringMatch(kind, b"/" if kind == "prefix" else b"")  # type: ignore[arg-type]
    action = ForwardAction(
        (ClusterWeight("c"),), 1, upgrades=upgrades, terminates_connect=terminates, idle_timeout=idle
    )
    return Route(RouteMatch(match), action)


@pytest.mark.parametrize(
    ("upgrades", "types", "allowed"),
    [
        ((), WEBSOCKET, True),
        (((b"websocket", True),), frozenset(), True),
        (((b"websocket", False),), WEBSOCKET, False),
        (((b"other", True),), frozenset(), False),
    ],
)
async def test_routes_overrule_the_connection_manager_on_upgrades(
    proxy: Proxy, upgrades: tuple[tuple[bytes, bool], ...], types: frozenset[bytes], allowed: bool
) -> None:
    await serve(proxy, websocket, route(*upgrades), types=types)
    peer = await proxy.client()
    await peer.send(UPGRADE + b"ping")
    head = await peer.read_until(b"\r\n\r\n")
    if not allowed:
        assert head.startswith(b"HTTP/1.1 403 ")
        assert await peer.read_all() == b""
        return
    assert head.startswith(b"HTTP/1.1 101 ")
    assert await peer.read_all() == b"helloPING"
    await peer.close()
    await eventually(lambda: proxy.listeners.connection_count == 0)
    assert proxy.logs.lines[0].status == 101


async def test_bytes_behind_an_upgrade_that_the_origin_refuses_are_no_request(proxy: Proxy) -> None:
    async def refusing(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")

    await serve(proxy, refusing, route(), types=WEBSOCKET)
    peer = await proxy.client()
    await peer.send(UPGRADE + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
    head, body = await peer.message()
    assert (head.split(b" ")[1], body) == (b"403", b"no")
    assert await peer.read_all() == b""
    assert proxy.stat("http.test.downstream_rq_total") == 1


async def test_connect_goes_to_a_route_with_a_connect_matcher_alone(proxy: Proxy) -> None:
    await serve(proxy, upper, route(), types=TUNNEL)
    peer = await proxy.client()
    await peer.send(CONNECT)
    assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert await peer.read_all() == b""


async def test_connect_is_passed_on_and_its_answer_opens_the_tunnel(proxy: Proxy) -> None:
    async def another_proxy(peer: Peer, _number: int) -> None:
        head = await peer.read_until(b"\r\n\r\n")
        assert head.startswith(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n")
        await peer.send(b"HTTP/1.1 200 Go on\r\ncontent-length: 7\r\n\r\n")
        await upper(peer, 0)

    await serve(proxy, another_proxy, route(kind="connect"), types=TUNNEL)
    peer = await proxy.client()
    await peer.send(CONNECT + b"ping")
    head = await peer.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length" not in head
    assert await peer.read_all() == b"PING"


async def test_a_terminated_connect_gets_a_connection_of_its_own(proxy: Proxy) -> None:
    await serve(proxy, upper, route((b"connect", True), kind="connect", terminates=True))
    for _ in range(2):
        peer = await proxy.client()
        await peer.send(CONNECT + b"ping")
        assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await peer.read_all() == b"PING"
        await peer.close()
    await eventually(lambda: proxy.listeners.connection_count == 0)
    assert proxy.stat("cluster.c.upstream_cx_total") == 2
    assert proxy.stat("cluster.c.upstream_cx_active") == 0
    assert proxy.stat("cluster.c.upstream_rq_active") == 0
    assert proxy.stat("http.test.downstream_cx_upgrades_active") == 0
    assert [line.status for line in proxy.logs.lines] == [200, 200]


async def test_a_tunnel_in_which_nothing_moves_ends_with_the_idle_timeout_of_its_route(proxy: Proxy) -> None:
    async def silent(peer: Peer, _number: int) -> None:
        await peer.read_all()

    await serve(proxy, silent, route((b"connect", True), kind="connect", terminates=True, idle=0.05))
    peer = await proxy.client()
    await peer.send(CONNECT)
    assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await peer.read_all() == b""
    await eventually(lambda: len(proxy.logs.lines) == 1)
    assert proxy.logs.lines[0].details == "stream_idle_timeout"
    assert proxy.stat("http.test.downstream_rq_idle_timeout") == 1
