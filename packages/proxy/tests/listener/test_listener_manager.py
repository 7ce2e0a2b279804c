"""Listeners: added, updated, moved, removed and drained without dropping a request; and plain TCP."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.acceptor import Acceptor
from isthmus_proxy.listener.model import (
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    RdsReference,
    SocketAddress,
)
from isthmus_proxy.route.model import DirectResponseAction, Route, RouteMatch, StringMatch
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy

pytestmark = pytest.mark.trio

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


class Gate:
    """An origin that answers when told."""

    def __init__(self) -> None:
        self.arrived = 0
        self.release = trio.Event()

    async def __call__(self, peer: Peer, _number: int) -> None:
        while True:
            await peer.message()
            self.arrived += 1
            await self.release.wait()
            await peer.send(OK)


async def gated(proxy: Proxy) -> Gate:
    gate = Gate()
    origin = await proxy.origin(gate)
    proxy.cluster("c", origin.port)
    proxy.route(forward())
    return gate


async def test_an_update_on_the_same_address_keeps_the_socket_and_drains_the_old_connections(proxy: Proxy) -> None:
    gate = await gated(proxy)
    port = proxy.http()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    proxy.http(port=port)
    busy, idle = await proxy.client(), await proxy.client()
    await busy.send(REQUEST)
    await eventually(lambda: gate.arrived == 1 and proxy.listeners.connection_count == 2)
    assert proxy.http(port=port, server_name=b"new") == port
    assert await idle.read_all() == b""
    fresh = await proxy.client()
    await fresh.send(REQUEST)
    await eventually(lambda: gate.arrived == 2)
    gate.release.set()
    head, body = await busy.message()
    assert body == b"ok"
    assert b"server: envoy\r\n" in head
    assert b"connection: close\r\n" in head
    assert await busy.read_all() == b""
    head, _ = await fresh.message()
    assert b"server: new\r\n" in head
    assert b"connection: close" not in head
    await eventually(lambda: proxy.logs.closed == proxy.logs.opened - 1)


async def test_an_unchanged_listener_is_left_alone(proxy: Proxy) -> None:
    await gated(proxy)
    first = proxy.http()
    config = HttpConnectionManagerConfig("test", RdsReference("r"))
    assert proxy.listen("l", config, 0) == first
    assert proxy.logs.opened == 1


async def test_a_moved_listener_opens_the_new_port_first(proxy: Proxy) -> None:
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, b"hi")))
    old = proxy.http()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wanted = probe.getsockname()[1]
    assert proxy.http(port=wanted) == wanted
    assert (await proxy.get())[0] == 200
    await eventually(lambda: [str(row.address) for row in proxy.listeners.active()] == [f"127.0.0.1:{wanted}"])
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", old)


async def test_a_port_conflict_names_the_address_and_changes_nothing(proxy: Proxy) -> None:
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, b"hi")))
    port = proxy.http()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"address.socket_address = 127.0.0.1:{number}: cannot listen here"
        ) as caught:
            proxy.http("other", port=number)
    assert caught.value.origin == "listener other"
    proxy.port = port
    assert (await proxy.get())[0] == 200
    assert len(proxy.listeners.active()) == 1
    assert proxy.stat("listener_manager.listener_create_failure") == 1


async def test_two_listeners_on_one_address_are_refused(proxy: Proxy) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    proxy.http(port=port)
    with pytest.raises(ConfigError, match="listener l has this address"):
        proxy.http("other", port=port)


def warming(port: int, name: str = "l") -> ListenerConfig:
    """A listener that waits for its routes."""
    chain = FilterChain("", HttpConnectionManagerConfig("test", RdsReference("r")))
    return ListenerConfig(name, SocketAddress("127.0.0.1", port), (chain,), name)


def port_of(config: ListenerConfig) -> int:
    assert isinstance(config.address, SocketAddress)
    return config.address.port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_a_reserved_address_is_taken_but_not_served_until_the_listener_opens(proxy: Proxy) -> None:
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, b"hi")))
    config = warming(free_port())
    proxy.listeners.reserve(config)
    proxy.listeners.reserve(config)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(config))).close()
    with pytest.raises(ConfigError, match="listener l has this address"):
        proxy.listeners.reserve(warming(port_of(config), "other"))
    assert proxy.open(config) == port_of(config)
    assert (await proxy.get())[0] == 200


async def test_reserving_a_taken_address_names_it_and_changes_nothing(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"address.socket_address = 127.0.0.1:{number}: cannot listen here"):
            proxy.listeners.reserve(warming(number))
    assert proxy.stat("listener_manager.listener_create_failure") == 1
    assert not proxy.listeners.active()


async def test_a_reservation_is_given_up_with_its_listener_or_for_another_address(proxy: Proxy) -> None:
    first, second, third = warming(free_port()), warming(free_port()), warming(free_port(), "other")
    proxy.listeners.reserve(first)
    proxy.listeners.reserve(second)
    with socket.create_server(("127.0.0.1", port_of(first))):
        pass
    proxy.listeners.reserve(third)
    proxy.listeners.remove("l")
    proxy.listeners.close()
    for config in (second, third):
        with socket.create_server(("127.0.0.1", port_of(config)), reuse_port=False):
            pass


async def test_a_removed_listener_lets_its_requests_finish(proxy: Proxy) -> None:
    gate = await gated(proxy)
    port = proxy.http()
    busy = await proxy.client()
    await busy.send(REQUEST)
    await eventually(lambda: gate.arrived == 1)
    assert proxy.listeners.remove("l")
    assert not proxy.listeners.remove("l")
    assert [row.draining for row in proxy.listeners.active()] == [True]
    gate.release.set()
    assert (await busy.message())[1] == b"ok"
    assert await busy.read_all() == b""
    await eventually(lambda: proxy.listeners.active() == [])
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_drain_ends_idle_connections_waits_for_busy_ones_and_takes_no_new(proxy: Proxy) -> None:
    gate = await gated(proxy)
    proxy.http()
    busy, idle = await proxy.client(), await proxy.client()
    await busy.send(REQUEST)
    await eventually(lambda: gate.arrived == 1 and proxy.listeners.connection_count == 2)
    drained: list[bool] = []

    async def drain() -> None:
        drained.append(await proxy.listeners.drain())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        assert await idle.read_all() == b""
        assert drained == []
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", proxy.port)
        gate.release.set()
        head, body = await busy.message()
        assert b"connection: close\r\n" in head
        assert body == b"ok"
        await busy.close()
    assert drained == [True]


async def test_a_request_sent_as_a_drain_begins_is_still_answered(proxy: Proxy) -> None:
    """Closing an idle connection at once would lose what its client is sending at that moment."""
    gate = await gated(proxy)
    gate.release.set()
    proxy.http()
    client = await proxy.client()
    await client.send(REQUEST)
    await client.message()
    drained: list[bool] = []

    async def drain() -> None:
        drained.append(await proxy.listeners.drain())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked()
        await client.send(REQUEST)
        head, body = await client.message()
        assert body == b"ok"
        assert b"connection: close\r\n" in head
        assert await client.read_all() == b""
    assert drained == [True]


async def test_drain_gives_up_at_its_deadline(proxy: Proxy) -> None:
    gate = await gated(proxy)
    proxy.http()
    busy = await proxy.client()
    await busy.send(REQUEST)
    await eventually(lambda: gate.arrived == 1)
    assert not await proxy.listeners.drain(trio.current_time() + 0.02)
    assert proxy.listeners.connection_count == 1
    proxy.listeners.close()
    assert proxy.listeners.connection_count == 0
    assert proxy.logs.lines[0].flags == "DC"


async def test_stats_of_a_listener(proxy: Proxy) -> None:
    proxy.route(Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200, b"hi")))
    port = proxy.http()
    await proxy.get()
    await eventually(lambda: proxy.stat(f"listener.127.0.0.1_{port}.downstream_cx_destroy") == 1)
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_cx_total") == 1
    assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_cx_active") == 0
    assert proxy.stat("http.test.downstream_cx_active") == 0


class Exhausted:
    """A listening socket that is out of descriptors for a while."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self._sock = sock
        self.failures = failures

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()

    def fileno(self) -> int:
        return self._sock.fileno()

    def getsockname(self) -> tuple[str, int]:
        address: tuple[str, int] = self._sock.getsockname()
        return address

    def close(self) -> None:
        self._sock.close()


async def test_running_out_of_descriptors_pauses_accepting(proxy: Proxy) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    port = sock.getsockname()[1]
    accepted: list[socket.socket] = []
    exhausted: list[int] = []
    wrapped = Exhausted(sock, 2)
    acceptor = Acceptor(
        proxy.reactor,
        wrapped,  # type: ignore[arg-type]
        lambda connection, _remote, _local: accepted.append(connection),
        lambda: exhausted.append(1),
    )
    client = await trio.open_tcp_stream("127.0.0.1", port)
    await eventually(lambda: len(accepted) == 1)
    assert len(exhausted) == 2
    acceptor.close()
    accepted[0].close()
    await client.aclose()


async def shout(peer: Peer, _number: int) -> None:
    """Answer everything in capitals, once all of it is there."""
    await peer.send((await peer.read_all()).upper())


async def test_tcp_passes_bytes_and_half_closes(proxy: Proxy) -> None:
    origin = await proxy.origin(shout)
    proxy.cluster("c", origin.port)
    proxy.tcp("c")
    peer = await proxy.client()
    await peer.send(b"hello")
    await peer.stream.send_eof()
    assert await peer.read_all() == b"HELLO"
    await eventually(lambda: proxy.listeners.connection_count == 0)
    assert (proxy.logs.lines[0].bytes_received, proxy.logs.lines[0].bytes_sent) == (5, 5)
    assert proxy.stat("tcp.test.downstream_cx_rx_bytes_total") == 5
    assert proxy.stat("cluster.c.upstream_cx_active") == 0


async def test_tcp_moves_large_streams_without_holding_them(proxy: Proxy) -> None:
    size = 20_000_000

    async def flood(peer: Peer, _number: int) -> None:
        await peer.send(b"x" * size)

    origin = await proxy.origin(flood)
    proxy.cluster("c", origin.port)
    proxy.tcp("c")
    peer = await proxy.client()
    await peer.discard(size)
    assert await peer.read_all() == b""


@pytest.mark.parametrize(("cluster", "flags"), [("nowhere", "NC"), ("empty", "UH"), ("refused", "UF,URX")])
async def test_tcp_that_cannot_be_connected_is_closed(proxy: Proxy, cluster: str, flags: str) -> None:
    proxy.cluster("empty")
    proxy.cluster("refused", 1)
    proxy.tcp(cluster)
    peer = await proxy.client()
    assert await peer.read_all() == b""
    await eventually(lambda: len(proxy.logs.lines) == 1)
    assert proxy.logs.lines[0].flags == flags
    assert proxy.listeners.connection_count == 0


async def test_tcp_idle_timeout_and_reset(proxy: Proxy) -> None:
    async def quiet(peer: Peer, _number: int) -> None:
        await peer.read_all()

    origin = await proxy.origin(quiet)
    proxy.cluster("c", origin.port)
    proxy.tcp("c", idle_timeout=0.05)
    assert await (await proxy.client()).read_all() == b""
    peer = await proxy.client()
    await peer.send(b"x")
    peer.abort()
    await eventually(lambda: len(proxy.logs.lines) == 2)
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)
