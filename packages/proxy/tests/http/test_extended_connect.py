"""Tunnels over HTTP/2: WebSocket by extended CONNECT (RFC 8441) between all pairs of versions, plain CONNECT, and every end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.http.filters.local_ratelimit import LocalRateLimitConfig
from isthmus_proxy.http.testing import Http2Peer, http2_client, serving
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.route.model import ClusterWeight, ForwardAction, Route, RouteMatch, StringMatch
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy
from isthmus_proxy.upstream.upgrade import accept_for, fresh_key

pytestmark = pytest.mark.trio

ALWAYS = Fraction(100, 100)
OFFERED = Http2Options(allow_connect=True)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
WEBSOCKET = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"), (":authority", "a.b"),
]  # fmt: skip
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nhost: a.b\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: "
    + KEY
    + b"\r\n\r\n"
)
BIG = bytes(range(256)) * 4096


async def test_the_example_of_the_standard() -> None:
    assert accept_for(KEY) == ACCEPT
    assert fresh_key(lambda bits: (1 << bits) - 1) == b"/////////////////////w=="


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as made:
        yield made


def field(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b": ")
        if key == name:
            return value
    return None


class Echo1:
    """An origin of HTTP/1.1 that grants the upgrade and echoes until the client's end, which it answers with ``bye`` and its own."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.heads: list[bytes] = []
        self.ended = 0

    async def __call__(self, peer: Peer, _number: int) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await peer.read()
        head, _, early = head.partition(b"\r\n\r\n")
        self.heads.append(head)
        if self.refusal:
            await peer.send(self.refusal)
            await self(peer, 0)
        proof = accept_for(field(head, b"sec-websocket-key") or b"")
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: "
            + proof
            + b"\r\n\r\nhello"
            + early
        )
        while data := await peer.read():
            await peer.send(data)
        self.ended += 1
        await peer.send(b"bye")
        await peer.stream.aclose()


class Echo2:
    """The same over HTTP/2."""

    def __init__(self, status: str = "200") -> None:
        self.status = status
        self.heads: list[dict[str, str]] = []
        self.ended = 0

    async def __call__(self, peer: Http2Peer) -> None:
        while True:
            await peer.until(lambda: bool(peer.fields))
            self.heads.append(peer.fields)
            peer.fields = {}
            await peer.respond([(":status", self.status)], end=self.status != "200")
            if self.status == "200":
                await self._echo(peer)

    async def _echo(self, peer: Http2Peer) -> None:
        await peer.send(b"hello")
        while peer.reset is None and not peer.ended:
            data, peer.body = peer.body, b""
            if data:
                await peer.send(data)
            else:
                await peer.step()
        if peer.reset is None:
            self.ended += 1
            await peer.send(peer.body + b"bye", end=True)
        peer.reset = None


Origin = Echo1 | Echo2


async def served(proxy: Proxy, origin: Origin, **options: Any) -> None:
    if isinstance(origin, Echo2):
        script: Callable[[Peer, int], Awaitable[None]] = serving(origin, connect=True)
        proxy.cluster("c", (await proxy.origin(script)).port, http2=True)
    else:
        proxy.cluster("c", (await proxy.origin(origin)).port)
    proxy.route(forward(timeout=0.0))
    options.setdefault("upgrade_types", frozenset({b"websocket"}))
    proxy.http(http2=OFFERED, **options)


async def websocket(proxy: Proxy) -> Http2Peer:
    client = await http2_client(await proxy.client())
    await client.request(WEBSOCKET, end=False)
    return client


def origins() -> list[Origin]:
    return [Echo1(), Echo2()]


@pytest.mark.parametrize("origin", origins(), ids=["http1", "http2"])
async def test_a_websocket_of_http2(proxy: Proxy, origin: Origin) -> None:
    await served(proxy, origin)
    client = await http2_client(await proxy.client())
    assert client.settings[8] == 1  # SETTINGS_ENABLE_CONNECT_PROTOCOL
    await client.request(WEBSOCKET, end=False)
    await client.send(b"early")
    await client.until(lambda: client.body.endswith(b"early"))
    assert client.fields[":status"] == "200"
    assert "connection" not in client.fields
    assert "upgrade" not in client.fields
    assert client.body == b"helloearly"
    await client.send(b"!", end=True)
    await client.until(lambda: client.ended)
    assert client.body == b"helloearly!bye"
    head = origin.heads[0]
    if isinstance(head, bytes):
        assert head.startswith(b"GET /chat HTTP/1.1\r\nhost: a.b\r\n")
        assert len(field(head, b"sec-websocket-key") or b"") == 24
        assert (field(head, b"connection"), field(head, b"upgrade")) == (b"upgrade", b"websocket")
    else:
        assert [head.get(name) for name, _ in WEBSOCKET] == [value for _, value in WEBSOCKET]
    await eventually(lambda: proxy.stat("http.test.downstream_cx_upgrades_active") == 0)
    assert proxy.stat("http.test.downstream_cx_upgrades_total") == 1
    assert proxy.stat("http.test.downstream_rq_active") == 0
    assert proxy.stat("cluster.c.upstream_rq_active") == 0
    await eventually(lambda: proxy.stat("http2.streams_active") == 0)


@pytest.mark.parametrize("origin", origins(), ids=["http1", "http2"])
async def test_a_websocket_of_http1(proxy: Proxy, origin: Origin) -> None:
    await served(proxy, origin)
    peer = await proxy.client()
    await peer.send(UPGRADE)
    data = b""
    while not data.endswith(b"hello"):
        data += await peer.read()
    head, _, _ = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert (field(head, b"upgrade"), field(head, b"sec-websocket-accept")) == (b"websocket", ACCEPT)
    await peer.send(b"ping")
    assert await peer.read() == b"ping"
    await peer.stream.send_eof()
    data = b""
    while more := await peer.read():
        data += more
    assert data == b"bye"
    assert origin.ended == 1


@pytest.mark.parametrize("origin", origins(), ids=["http1", "http2"])
async def test_large_amounts_pass_both_ways_at_once(proxy: Proxy, origin: Origin) -> None:
    await served(proxy, origin)
    client = await websocket(proxy)
    await client.until(lambda: client.body == b"hello")
    await client.send(BIG)
    await client.until(lambda: len(client.body) == len(BIG) + 5)
    assert client.body[5:] == BIG


@pytest.mark.parametrize(
    "origin",
    [Echo1(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"), Echo2("403")],
    ids=["http1", "http2"],
)
async def test_an_origin_that_refuses(proxy: Proxy, origin: Origin) -> None:
    await served(proxy, origin)
    client = await websocket(proxy)
    await client.send(b"early")
    await client.until(lambda: client.ended)
    assert client.fields[":status"] == "403"
    # The connection goes on.
    client.ended = False
    await client.request(WEBSOCKET, end=False)
    await client.until(lambda: client.ended)
    assert client.fields[":status"] == "403"
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
    assert proxy.stat("http.test.downstream_cx_upgrades_total") == 0


async def test_what_is_not_allowed_is_refused_before_it_goes_anywhere(proxy: Proxy) -> None:
    origin = Echo1()
    await served(proxy, origin, upgrade_types=frozenset())
    client = await websocket(proxy)
    await client.until(lambda: client.ended)
    assert client.fields[":status"] == "403"
    assert not origin.heads


@pytest.mark.parametrize("origin", origins(), ids=["http1", "http2"])
async def test_a_client_that_resets_its_stream_ends_the_tunnel(proxy: Proxy, origin: Origin) -> None:
    await served(proxy, origin)
    client = await websocket(proxy)
    await client.until(lambda: client.body == b"hello")
    client.h2.reset_stream(client.stream_id, 8)
    await client.flush()
    await eventually(lambda: proxy.stat("http.test.downstream_cx_upgrades_active") == 0)
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
    if isinstance(origin, Echo1):
        await eventually(lambda: origin.ended == 1)
    # Its object is used again, and nothing of the old one is left in it.
    await client.request(WEBSOCKET, end=False)
    await client.until(lambda: client.body == b"hello")
    await client.send(b"again")
    await client.until(lambda: client.body == b"helloagain")


@pytest.mark.parametrize("origin", origins(), ids=["http1", "http2"])
async def test_a_client_that_is_gone_ends_all_its_tunnels(proxy: Proxy, origin: Origin) -> None:
    await served(proxy, origin)
    client = await websocket(proxy)
    await client.until(lambda: client.body == b"hello")
    await client.peer.close()
    await eventually(lambda: proxy.stat("http.test.downstream_cx_upgrades_active") == 0)
    await eventually(lambda: proxy.stat("http.test.downstream_cx_active") == 0)
    assert proxy.stat("http.test.downstream_rq_active") == 0


async def test_an_origin_that_breaks_off_ends_the_stream_alone(proxy: Proxy) -> None:
    async def script(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
        peer.stream.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
        peer.stream.socket.close()

    proxy.cluster("c", (await proxy.origin(script)).port)
    proxy.route(forward(timeout=0.0))
    proxy.http(http2=OFFERED, upgrade_types=frozenset({b"websocket"}))
    client = await websocket(proxy)
    await client.until(lambda: client.ended or client.reset is not None)
    await client.request([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.b")])
    await client.until(lambda: bool(client.fields))
    assert proxy.stat("http.test.downstream_rq_active") in (0, 1)


async def test_a_tunnel_in_which_nothing_moves_ends_with_the_idle_timeout(proxy: Proxy) -> None:
    await served(proxy, Echo1(), stream_idle_timeout=0.7)
    client = await websocket(proxy)
    await client.until(lambda: client.reset is not None)
    assert proxy.stat("http.test.downstream_rq_idle_timeout") == 1
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)


async def test_extended_connect_that_was_not_offered_is_malformed(proxy: Proxy) -> None:
    proxy.http()
    client = await http2_client(await proxy.client())
    assert not client.settings.get(8)
    await client.request(WEBSOCKET, end=False)
    await client.until(lambda: client.reset == 1)  # PROTOCOL_ERROR


async def test_connect_ends_here_and_goes_on_as_tcp(proxy: Proxy) -> None:
    async def script(peer: Peer, _number: int) -> None:
        while data := await peer.read():
            await peer.send(data)
        await peer.stream.aclose()

    proxy.cluster("c", (await proxy.origin(script)).port)
    action = ForwardAction((ClusterWeight("c"),), 1, timeout=0.0, terminates_connect=True)
    proxy.route(Route(RouteMatch(StringMatch("connect", b"")), action))
    proxy.http(upgrade_types=frozenset({b"connect"}))
    client = await http2_client(await proxy.client())
    await client.request([(":method", "CONNECT"), (":authority", "tcp:443")], end=False)
    await client.send(b"through")
    await client.until(lambda: client.body == b"through")
    assert client.fields == {**client.fields, ":status": "200"}
    await client.send(b"", end=True)
    await client.until(lambda: client.ended)
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)


@pytest.mark.parametrize("origin", origins(), ids=["http1", "http2"])
async def test_filters_see_the_request_and_let_the_tunnel_pass(proxy: Proxy, origin: Origin) -> None:
    limit = LocalRateLimitConfig("l", max_tokens=1, fill_interval=3600.0, enabled=ALWAYS, enforced=ALWAYS)
    await served(proxy, origin, http_filters=(HttpFilterConfig("limit", limit),))
    client = await websocket(proxy)
    await client.send(b"early")
    await client.until(lambda: client.body == b"helloearly")
    await client.send(b"!", end=True)
    await client.until(lambda: client.ended)
    assert client.body == b"helloearly!bye"
    client.ended = False
    await client.request(WEBSOCKET, end=False)
    await client.until(lambda: client.ended)
    assert client.fields[":status"] == "429"
    await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
    await eventually(lambda: proxy.stat("http2.streams_active") == 0)
