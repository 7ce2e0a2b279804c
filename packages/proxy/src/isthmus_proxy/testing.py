"""A proxy in the test's own process, with scripted origins and raw clients on loopback: real sockets, no sleeps.

Nothing here is imported by the proxy itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints, Thresholds
from isthmus_proxy.cluster.monitoring import ClusterMonitoring
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.listener.listener_manager import ListenerManager
from isthmus_proxy.listener.model import (
    AccessLogConfig,
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    RdsReference,
    SocketAddress,
    TcpProxyConfig,
    TerminalFilterConfig,
)
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderEdits,
    RetryPolicy,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.table import RouteHandles
from isthmus_proxy.runtime import ADMIN, STATIC, Layer, Runtime, RuntimeConfig, Value

PATIENCE = 20.0
"""Seconds after which a wait is taken for lost; far beyond anything a healthy run needs."""


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; fails after ``PATIENCE``."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for may be in another process or thread
            await trio.sleep(0.002)


class Peer:
    """A raw TCP peer: sends and receives bytes; every wait has a deadline."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        with trio.fail_after(PATIENCE):
            await self.stream.send_all(data)

    async def read(self) -> bytes:
        """What comes next; empty at the end or after a reset."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        with trio.fail_after(PATIENCE):
            try:
                return await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return b""

    async def read_until(self, mark: bytes) -> bytes:
        """Bytes up to and with ``mark``; raises EOFError if the peer closes before."""
        data = b""
        while mark not in data:
            more = await self.read()
            if not more:
                raise EOFError(data)
            data += more
        end = data.index(mark) + len(mark)
        self.buffer = data[end:] + self.buffer
        return data[:end]

    async def read_exactly(self, size: int) -> bytes:
        """Exactly ``size`` bytes; raises EOFError if the peer closes before."""
        data = b""
        while len(data) < size:
            more = await self.read()
            if not more:
                raise EOFError(data)
            data += more
        self.buffer = data[size:] + self.buffer
        return data[:size]

    async def discard(self, size: int) -> None:
        """Read exactly ``size`` bytes and keep none; raises EOFError if the peer closes before."""
        while size > 0:
            more = await self.read()
            if not more:
                raise EOFError(size)
            size -= len(more)

    async def read_all(self) -> bytes:
        """Everything until the peer closes."""
        data = b""
        while more := await self.read():
            data += more
        return data

    async def message(self, *, head_only: bool = False) -> tuple[bytes, bytes]:
        """One HTTP/1.1 message with a body of known length or chunked: (head, body as on the wire)."""
        head = await self.read_until(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if head_only:
            return head, b""
        if b"transfer-encoding: chunked" in lines:
            return head, await self.read_until(b"0\r\n\r\n")
        length = next((int(line[16:]) for line in lines if line.startswith(b"content-length: ")), 0)
        return head, await self.read_exactly(length)

    def abort(self) -> None:
        """Close with a RST."""
        self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.stream.socket.close()

    async def close(self) -> None:
        """Close."""
        await self.stream.aclose()


Script = Callable[[Peer, int], Awaitable[None]]
"""What an origin does with one connection; the number counts connections from 0."""


async def answer_ok(peer: Peer, _number: int) -> None:
    """Answer every request with 200 and ``ok``."""
    while True:
        try:
            await peer.message()
        except EOFError:
            return
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


class Origin:
    """An upstream server that runs ``script`` for each connection."""

    def __init__(self, script: Script, listener: trio.SocketListener) -> None:
        self.script = script
        self.listener = listener
        self.connections = 0
        self.port: int = listener.socket.getsockname()[1]

    async def serve(self, stream: trio.SocketStream) -> None:
        """Run the script on a new connection."""
        number, self.connections = self.connections, self.connections + 1
        async with stream:
            try:
                await self.script(Peer(stream), number)
            except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
                return


@dataclass(frozen=True, slots=True)
class Logged:
    """What an access log saw of one exchange."""

    status: int
    flags: str
    details: str
    path: str
    upstream_host: str
    attempts: int
    bytes_received: int
    bytes_sent: int
    request_id: bytes | None


class LogRecorder:
    """Stands where the access log manager stands, and keeps what is logged; as ``texts`` what ``render`` makes of it, if set."""

    def __init__(self) -> None:
        self.lines: list[Logged] = []
        self.render: Callable[[StreamInfo], bytes] | None = None
        self.texts: list[bytes] = []
        self.opened = 0
        self.closed = 0

    def open_loggers(self, configs: tuple[AccessLogConfig, ...], /) -> tuple[LogRecorder, ...]:
        """Itself, whatever the configuration."""
        self.opened += 1
        return (self,)

    def close_loggers(self, loggers: tuple[object, ...], /) -> None:
        """Count."""
        self.closed += 1

    def log(self, info: StreamInfo) -> None:
        """Keep."""
        if self.render is not None:
            self.texts.append(self.render(info))
        path = info.request.path.decode("latin-1") if info.request is not None else "-"
        self.lines.append(
            Logged(
                info.status,
                ",".join(info.flags),
                info.response_code_details,
                path,
                info.upstream_host,
                info.attempts,
                info.bytes_received,
                info.bytes_sent,
                None if info.request is None else info.request.get(b"x-request-id"),
            )
        )


def static_values(values: Mapping[str, Value], *, admin: bool = False) -> RuntimeConfig:
    """Run-time values of one static layer, and an admin layer above it where asked for."""
    layers = (Layer("static", STATIC, values), *((Layer("admin", ADMIN),) if admin else ()))
    return RuntimeConfig(layers)


class Proxy:
    """The data path under test."""

    def __init__(self, nursery: trio.Nursery, reactor: Reactor) -> None:
        self.nursery = nursery
        self.reactor = reactor
        self.stats = StatsStore()
        self.random = random.Random(1)
        self.clusters = ClusterManager(
            lambda name: self.stats.scope(f"cluster.{name}"), self.random.random, time.monotonic
        )
        self.runtime = Runtime(static_values({}, admin=True))
        self.surroundings = Surroundings(reactor, self.clusters, time.time, self.random, self.runtime)
        self.surroundings.start_soon = nursery.start_soon
        transports = self.surroundings.pools.transports
        self.monitoring = ClusterMonitoring(reactor, transports, self.clusters, self.random.random)
        self.routes = RouteHandles(self.runtime, self.stats.scope)
        self.logs = LogRecorder()
        self.listeners = ListenerManager(self.surroundings, self.routes, self.stats, self.logs)
        self.port = 0
        self.peers: list[Peer] = []

    def stat(self, name: str) -> int | None:
        """The value of a counter or gauge."""
        return self.stats.value(name)

    async def origin(self, script: Script = answer_ok) -> Origin:
        """Start an upstream server."""
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        origin = Origin(script, listener)
        self.nursery.start_soon(trio.serve_listeners, origin.serve, [listener])
        return origin

    def cluster(self, name: str, *ports: int, thresholds: Thresholds | None = None, **options: object) -> None:
        """Add a static cluster of endpoints on loopback."""
        endpoints = tuple(EndpointConfig("127.0.0.1", port) for port in ports)
        config = ClusterConfig(
            name,
            "STATIC",
            assignment=Assignment(name, (LocalityEndpoints(endpoints),)),
            thresholds=thresholds or Thresholds(),
            **options,  # type: ignore[arg-type]
        )
        self.clusters.add_or_update(config)

    def route(self, *routes: Route, name: str = "r") -> None:
        """Publish a route configuration with one virtual host for all domains."""
        self.routes.update(RouteConfiguration(name, (VirtualHost("v", (b"*",), routes),)))

    async def relay(self, script: Script = answer_ok, **options: object) -> Origin:
        """Listen for HTTP, and send everything to one origin, which does as ``script`` says."""
        origin = await self.origin(script)
        self.cluster("c", origin.port)
        self.route(forward())
        self.http(**options)  # type: ignore[arg-type]
        return origin

    def http(self, name: str = "l", port: int = 0, **options: object) -> int:
        """Listen for HTTP with the routes of ``r``; answer the port."""
        config = HttpConnectionManagerConfig("test", RdsReference("r"), **options)  # type: ignore[arg-type]
        self.port = self.listen(name, config, port)
        return self.port

    def tcp(self, cluster: str, **options: object) -> int:
        """Listen for TCP; answer the port."""
        config = TcpProxyConfig("test", (ClusterWeight(cluster),), **options)  # type: ignore[arg-type]
        self.port = self.listen("t", config, 0)
        return self.port

    def listen(self, name: str, config: TerminalFilterConfig, port: int, *, buffer_limit: int = 1 << 20) -> int:
        """Add or update a listener; answer its port."""
        listener = ListenerConfig(
            name,
            SocketAddress("127.0.0.1", port),
            (FilterChain("", config),),
            str(config),
            per_connection_buffer_limit_bytes=buffer_limit,
        )
        return self.open(listener)

    def open(self, listener: ListenerConfig) -> int:
        """Add or update a listener; answer its port, 0 for one without."""
        address = self.listeners.add_or_update(listener)
        self.port = address.port if isinstance(address, SocketAddress) else 0
        return self.port

    async def client(self, port: int | None = None) -> Peer:
        """Connect to the proxy."""
        with trio.fail_after(PATIENCE):
            peer = Peer(await trio.open_tcp_stream("127.0.0.1", port or self.port))
        self.peers.append(peer)
        return peer

    async def get(self, path: bytes = b"/", headers: bytes = b"") -> tuple[int, bytes, bytes]:
        """One request on a connection of its own: (status, head, body)."""
        peer = await self.client()
        await peer.send(b"GET " + path + b" HTTP/1.1\r\nhost: a.b\r\n" + headers + b"\r\n")
        head, body = await peer.message()
        await peer.close()
        return int(head.split(b" ")[1]), head, body


def forward(
    cluster: str = "c",
    *,
    prefix: bytes = b"/",
    retry: RetryPolicy | None = None,
    edits: HeaderEdits | None = None,
    **options: object,
) -> Route:
    """A route to one cluster."""
    action = ForwardAction((ClusterWeight(cluster),), 1, retry_policy=retry, **options)  # type: ignore[arg-type]
    return Route(RouteMatch(StringMatch("prefix", prefix)), action, request_headers=edits or HeaderEdits())


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    """A reactor that runs, and everything around it; closed at the end."""
    async with trio.open_nursery() as nursery:
        reactor = Reactor()
        proxy = Proxy(nursery, reactor)
        await nursery.start(reactor.run)
        try:
            yield proxy
        finally:
            proxy.listeners.close()
            proxy.monitoring.close()
            for peer in proxy.peers:
                peer.stream.socket.close()
            nursery.cancel_scope.cancel()
