"""Filters in Python under the proxy, over HTTP/1.1 and HTTP/2, and under the double for their tests: the same comes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trio

from isthmus_proxy.extension import Exchange, Headers, HttpFilter, Reply, RequestHeaders, ResponseHeaders
from isthmus_proxy.extension.testing import FakeExchange, Response, make_filter, run_exchange
from isthmus_proxy.http.filters.python.config import Limits, PythonFilterConfig
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy

pytestmark = pytest.mark.trio

Base = HttpFilter[Mapping[str, Any]]


class Adds(Base):
    """Adds headers both ways."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        headers.set("x-filter", str(self.config_for(exchange).get("say", "hello")))

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        headers.add("x-seen", exchange.request.path)
        headers.remove("x-up")


class AddsLater(Base):
    """The same, when it has waited."""

    async def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        await trio.lowlevel.checkpoint()
        headers.set("x-filter", "later")
        exchange.set_metadata("filter", {"waited": True})

    async def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        await trio.lowlevel.checkpoint()
        headers.status = 203


class Shouts(Base):
    """Changes bodies."""

    def on_request_data(self, exchange: Exchange, data: bytes) -> bytes:
        return data.upper()

    def on_response_data(self, exchange: Exchange, data: bytes) -> bytes:
        return data + b"!"


class ShoutsLater(Base):
    """The same, when it has waited."""

    async def on_request_data(self, exchange: Exchange, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return data.upper()

    async def on_response_data(self, exchange: Exchange, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return data + b"!"


class Reads(Base):
    """Looks at bodies only."""

    changes_request_body = False
    changes_response_body = False

    def __init__(self, config: Mapping[str, Any], context: Any) -> None:
        super().__init__(config, context)
        self.read = 0

    def on_request_data(self, exchange: Exchange, data: bytes) -> bytes:
        self.read += len(data)
        return b"ignored"

    async def on_response_data(self, exchange: Exchange, data: bytes) -> None:
        self.read += len(data)


class Refuses(Base):
    """Answers a request in the upstream's place: at its head, or when its body is there."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> Reply | None:
        return Reply(403, b"no", (("x-why", "head"),), "refused") if headers.path == "/head" else None

    async def on_request_data(self, exchange: Exchange, data: bytes) -> Reply | None:
        await trio.lowlevel.checkpoint()
        return Reply(403, b"no", (("content-type", "a/b"),)) if exchange.request.path == "/body" else None


class Replaces(Base):
    """Answers in place of a response that is there."""

    async def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> Reply:
        return Reply(502, b"replaced")


class ReplacesBody(Base):
    """The same by the response's body."""

    def on_response_data(self, exchange: Exchange, data: bytes) -> Reply | bytes:
        return Reply(502, b"bad " + data) if len(data) > 1 else data


class Amends(Base):
    """Changes local replies."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> Reply:
        return Reply(400, b"bad")

    async def on_local_reply(self, exchange: Exchange, reply: Reply) -> Reply:
        await trio.lowlevel.checkpoint()
        return Reply(reply.status + 1, reply.body + b" amended", (("x-amended", "1"),))


class Moves(Base):
    """Changes the target."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        headers.path = "/moved"
        headers.method = "PUT"
        headers.authority = "c.d"


class Trails(Base):
    """Changes trailers."""

    def on_request_trailers(self, exchange: Exchange, trailers: Headers) -> None:
        trailers.add("x-more", trailers.get("x-one", "?"))

    async def on_response_trailers(self, exchange: Exchange, trailers: Headers) -> None:
        await trio.lowlevel.checkpoint()
        trailers.set("x-two", "changed")


class Empties(Base):
    """Takes bodies away."""

    def on_request_data(self, exchange: Exchange, data: bytes) -> bytes:
        return b""

    async def on_response_data(self, exchange: Exchange, data: bytes) -> bytes:
        return b""


class Remembers(Base):
    """Keeps something between hooks."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        exchange.state = [headers.method]

    def on_request_data(self, exchange: Exchange, data: bytes) -> None:
        exchange.state.append("data")

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        headers.set("x-state", ",".join([*exchange.state, exchange.protocol]))


class Digests(Base):
    """Says in the head what the body was: heads can be changed where bodies are collected."""

    def on_request_data(self, exchange: Exchange, data: bytes) -> None:
        exchange.request.set("x-filter", f"{len(data)} bytes")

    async def on_response_data(self, exchange: Exchange, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        assert exchange.response is not None
        exchange.response.set("x-seen", f"{len(data)} bytes")
        exchange.response.status = 201
        exchange.request.set("x-filter", "too late")
        return data


@dataclass
class Seen:
    """What came of one exchange, as far as both can tell."""

    sent: str = ""
    sent_fields: list[tuple[str, str]] = field(default_factory=list)
    sent_body: bytes = b""
    sent_trailers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    details: str = "via_upstream"


FIELDS = ("x-filter", "x-seen", "x-up", "x-why", "x-amended", "x-state", "content-type")


def chosen(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields that filters have to do with."""
    return sorted(
        (name, value) for name, value in fields if name in FIELDS and (name, value) != ("content-type", "text/plain")
    )


CASES: list[tuple[type[Base], str, bytes]] = [
    (Adds, "/a", b""),
    (Adds, "/a", b"abc"),
    (AddsLater, "/a", b""),
    (AddsLater, "/a", b"abc"),
    (Shouts, "/a", b"abc"),
    (ShoutsLater, "/a", b"abc"),
    (Reads, "/a", b"abc"),
    (Refuses, "/head", b""),
    (Refuses, "/head", b"abc"),
    (Refuses, "/body", b"abc"),
    (Refuses, "/a", b"abc"),
    (Replaces, "/a", b"abc"),
    (Amends, "/a", b""),
    (Amends, "/a", b"abc"),
    (Moves, "/a", b"abc"),
    (Trails, "/a", b"abc"),
    (Empties, "/a", b"abc"),
    (Remembers, "/a", b"abc"),
    (Digests, "/a", b"abc"),
]
WAYS = {
    "as it is": Limits(),
    "in threads": Limits(threads=2),
    "bodies whole": Limits(buffer_request_bytes=1000, buffer_response_bytes=1000),
    "bodies whole, in threads": Limits(threads=2, buffer_request_bytes=1000, buffer_response_bytes=1000),
}


def answer(request: RequestHeaders, body: bytes) -> Response:
    """What the upstream says."""
    said = f"{request.method} {request.path} ".encode() + body
    return Response(200, said, (("x-up", "1"),), (("x-two", "2"),))


async def through_the_double(kind: type[Base], path: str, body: bytes, limits: Limits, *, protocol: str) -> Seen:
    request = RequestHeaders("POST", path, "a.b")
    trailers = (("x-one", "1"),) if body else ()
    fake = FakeExchange(request, protocol=protocol)
    outcome = await run_exchange(
        make_filter(kind),
        request,
        body=body,
        trailers=trailers,
        upstream=answer,
        fake=fake,
        buffer_request=limits.buffer_request_bytes is not None,
        buffer_response=limits.buffer_response_bytes is not None,
    )
    seen = Seen(status=outcome.status, fields=chosen(outcome.headers.items()), body=outcome.body)
    seen.trailers = outcome.trailers.items()
    if outcome.reply is not None:
        seen.details = outcome.reply.details
    if outcome.sent is not None:
        seen.sent = f"{outcome.sent.method} {outcome.sent.path} {outcome.sent.authority}"
        seen.sent_fields = chosen(outcome.sent.items())
        seen.sent_body, seen.sent_trailers = outcome.sent_body, outcome.sent_trailers.items()
    return seen


def dechunked(data: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and trailers of a chunked body."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            break
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body, fields_of(data.removesuffix(b"\r\n\r\n"))


def fields_of(lines: bytes) -> list[tuple[str, str]]:
    pairs = [line.split(": ", 1) for line in lines.decode().split("\r\n") if line]
    return [(name, value) for name, value in pairs]


async def message(peer: Peer) -> tuple[str, list[tuple[str, str]], bytes, list[tuple[str, str]]]:
    """First line, fields, body and trailers of a message of HTTP/1.1."""
    head = await peer.read_until(b"\r\n\r\n")
    first, _, rest = head.partition(b"\r\n")
    fields = fields_of(rest)
    names = dict(fields)
    if names.get("transfer-encoding") == "chunked":
        data = b"" if head.startswith(b"HTTP/1.1 204") else await peer.read_until(b"0\r\n")
        data += await peer.read_until(b"\r\n")
        while not data.endswith(b"\r\n\r\n"):
            data += await peer.read_until(b"\r\n")
        body, trailers = dechunked(data)
        return first.decode(), fields, body, trailers
    return first.decode(), fields, await peer.read_exactly(int(names.get("content-length", 0))), []


async def through_the_proxy(
    proxy: Proxy, kind: type[Base], path: str, body: bytes, limits: Limits, *, protocol: str
) -> Seen:
    seen = Seen()

    async def upstream(peer: Peer, _number: int) -> None:
        first, fields, got, trailers = await message(peer)
        method, target, _ = first.split(" ")
        seen.sent = f"{method} {target} {dict(fields)['host']}"
        seen.sent_fields, seen.sent_body, seen.sent_trailers = chosen(fields), got, trailers
        response = answer(RequestHeaders(method, target), got)
        assert isinstance(response.body, bytes)
        head = b"HTTP/1.1 200 OK\r\nx-up: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        await peer.send(head + b"%x\r\n%b\r\n0\r\nx-two: 2\r\n\r\n" % (len(response.body), response.body))
        await peer.read_all()

    origin = await proxy.origin(upstream)
    proxy.cluster("c", origin.port, enable_trailers=True)
    proxy.route(forward())
    config = PythonFilterConfig("f", kind, {}, limits)
    proxy.http(http_filters=(HttpFilterConfig("f", config),), enable_trailers=True)
    peer = await proxy.client()
    await (over_http1 if protocol == "HTTP/1.1" else over_http2)(peer, path, body, seen)
    await eventually(lambda: bool(proxy.logs.lines))
    seen.details = proxy.logs.lines[0].details
    assert proxy.stat("http.test.python.f.errors") == 0
    assert proxy.stat("http.test.python.f.active") == 0
    return seen


async def over_http1(peer: Peer, path: str, body: bytes, seen: Seen) -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: a.b\r\n".encode()
    chunks = b"%x\r\n%b\r\n0\r\nx-one: 1\r\n\r\n" % (len(body), body)
    await peer.send(head + (b"transfer-encoding: chunked\r\n\r\n" + chunks if body else b"\r\n"))
    first, fields, seen.body, seen.trailers = await message(peer)
    seen.status, seen.fields = int(first.split(" ")[1]), chosen(fields)


async def over_http2(peer: Peer, path: str, body: bytes, seen: Seen) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
    client.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":authority", "a.b"), (":path", path)]
    client.send_headers(1, head, end_stream=not body)
    if body:
        client.send_data(1, body)
        client.send_headers(1, [("x-one", "1")], end_stream=True)
    while True:
        await peer.send(client.data_to_send())
        data = await peer.read()
        assert data
        for event in client.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = [(str(name), str(value)) for name, value in event.headers or ()]
                seen.status, seen.fields = int(dict(fields)[":status"]), chosen(fields)
            elif isinstance(event, h2.events.DataReceived):
                seen.body += event.data or b""
            elif isinstance(event, h2.events.TrailersReceived):
                seen.trailers = [(str(name), str(value)) for name, value in event.headers or ()]
            elif isinstance(event, h2.events.StreamEnded):
                return


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(("kind", "path", "body"), CASES)
async def test_the_proxy_and_the_double_agree(
    proxy: Proxy, kind: type[Base], path: str, body: bytes, way: str, protocol: str
) -> None:
    expected = await through_the_double(kind, path, body, WAYS[way], protocol=protocol)
    assert await through_the_proxy(proxy, kind, path, body, WAYS[way], protocol=protocol) == expected


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
async def test_a_collected_response_may_be_replaced(proxy: Proxy, protocol: str) -> None:
    limits = Limits(buffer_response_bytes=1000)
    expected = await through_the_double(ReplacesBody, "/a", b"abc", limits, protocol=protocol)
    assert await through_the_proxy(proxy, ReplacesBody, "/a", b"abc", limits, protocol=protocol) == expected
    assert expected.body == b"bad POST /a abc"
