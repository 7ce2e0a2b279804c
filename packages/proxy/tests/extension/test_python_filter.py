"""Filters in Python that fail, hang, or come in crowds: what their own requests get, and that others never wait for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_proxy.extension import Exchange, FilterContext, Headers, HttpFilter, Reply, RequestHeaders
from isthmus_proxy.http.filters.python.config import Limits, PythonRouteConfig
from isthmus_proxy.http.filters.python.failures import LINES_PER_SECOND, FailureLog
from isthmus_proxy.http.filters.python.testing import serve, stat
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.route.filter_overrides import FilterOverride
from isthmus_proxy.testing import Peer, Proxy, eventually, forward, running_proxy

Base = HttpFilter[Mapping[str, Any]]
SHORT = 0.05


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


POST = b"POST /%b HTTP/1.1\r\nhost: a.b\r\ncontent-length: 3\r\n\r\nabc"


class Fails(Base):
    """Fails as soon as it is asked."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        if headers.path == "/fails":
            raise RuntimeError("fails")


class Gate(Base):
    """Requests for /slow wait until the test lets them go; others pass."""

    opened = trio.Event()
    waiting = 0
    cancelled = 0

    async def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        if headers.path.startswith("/slow"):
            kind = type(self)
            kind.waiting += 1
            try:
                await kind.opened.wait()
            except trio.Cancelled:
                kind.cancelled += 1
                raise


class Stubborn(Base):
    """Takes no notice of its cancellation."""

    opened = trio.Event()
    ended = 0

    async def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        with trio.CancelScope(shield=True):
            await type(self).opened.wait()
        type(self).ended += 1
        headers.set("x-late", "1")
        exchange.set_metadata("late", {"late": True})


class ThreadGate(Base):
    """Blocks its thread until the test lets it go."""

    opened = threading.Event()

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        if headers.path.startswith("/slow"):
            type(self).opened.wait(60)
        exchange.set_metadata("late", {"late": True})


def fresh(kind: type[Base]) -> type[Base]:
    """A filter that shares nothing with other tests."""
    event = threading.Event() if kind is ThreadGate else trio.Event()
    return type(kind.__name__, (kind,), {"opened": event, "waiting": 0, "cancelled": 0, "ended": 0})


@pytest.mark.trio
@pytest.mark.parametrize(("kind", "limits"), [(Gate, Limits()), (Stubborn, Limits()), (ThreadGate, Limits(threads=1))])
@pytest.mark.parametrize("fail_open", [False, True])
async def test_a_hook_that_takes_too_long_fails(
    proxy: Proxy, kind: type[Base], limits: Limits, fail_open: bool
) -> None:
    gate: Any = fresh(kind)
    proxy.logs.render = compile_text("%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(late:late)%")
    await serve(proxy, gate, limits=replace(limits, timeout=SHORT, fail_open=fail_open))
    assert (await proxy.get(b"/slow"))[0] == (200 if fail_open else 500)
    assert stat(proxy, "timeouts") == 1
    gate.opened.set()
    await eventually(lambda: stat(proxy, "active") == 0)
    expected = b"200 via_upstream -" if fail_open else b"500 python_filter_timeout -"
    await eventually(lambda: proxy.logs.texts == [expected])


@pytest.mark.trio
async def test_a_client_that_leaves_ends_the_hook(proxy: Proxy) -> None:
    gate: Any = fresh(Gate)
    await serve(proxy, gate, limits=Limits(timeout=60.0))
    peer = await proxy.client()
    await peer.send(b"GET /slow HTTP/1.1\r\nhost: a.b\r\n\r\n")
    await eventually(lambda: gate.waiting == 1)
    await peer.close()
    await eventually(lambda: gate.cancelled == 1)
    await eventually(lambda: stat(proxy, "active") == 0)
    assert stat(proxy, "timeouts") == 0


@pytest.mark.trio
@pytest.mark.parametrize("fail_open", [False, True])
async def test_more_hooks_at_once_than_allowed_are_not_called(proxy: Proxy, fail_open: bool) -> None:
    gate: Any = fresh(Gate)
    await serve(proxy, gate, limits=Limits(timeout=60.0, max_active=2, fail_open=fail_open))
    peers = [await proxy.client() for _ in range(2)]
    for peer in peers:
        await peer.send(b"GET /slow HTTP/1.1\r\nhost: a.b\r\n\r\n")
    await eventually(lambda: gate.waiting == 2)
    assert (await proxy.get())[0] == (200 if fail_open else 503)
    assert stat(proxy, "overflow") == 1
    gate.opened.set()
    for peer in peers:
        assert (await peer.message())[0].startswith(b"HTTP/1.1 200")
    assert (await proxy.get())[0] == 200


class Dawdles(Base):
    """Holds its thread up; counts in which threads it runs."""

    threads: set[str] = set()  # noqa: RUF012 - each test makes a class of its own

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        type(self).threads.add("reactor's" if threading.current_thread() is threading.main_thread() else "other")
        threading.Event().wait(0.002)


@pytest.mark.trio
async def test_a_slow_plain_hook_is_moved_into_a_thread(proxy: Proxy) -> None:
    kind: Any = type("Dawdles", (Dawdles,), {"threads": set()})
    await serve(proxy, kind, limits=Limits(slow=0.001, demote_after=2))
    for expected in ({"reactor's"}, {"reactor's"}, {"reactor's", "other"}):
        assert (await proxy.get())[0] == 200
        assert kind.threads == expected
    assert (stat(proxy, "slow"), stat(proxy, "demoted")) == (2, 1)


@pytest.mark.trio
async def test_no_plain_hook_is_moved_where_that_is_off(proxy: Proxy) -> None:
    kind: Any = type("Dawdles", (Dawdles,), {"threads": set()})
    await serve(proxy, kind, limits=Limits(slow=0.001, demote_after=0))
    for _ in range(5):
        assert (await proxy.get())[0] == 200
    assert kind.threads == {"reactor's"}
    assert (stat(proxy, "slow"), stat(proxy, "demoted")) == (5, 0)


async def ask_beside_the_blocked(proxy: Proxy, blocked: int, beside: int) -> list[Peer]:
    """Send requests that block, then others that must be answered while those are blocked."""
    peers = [await proxy.client() for _ in range(blocked)]
    for peer in peers:
        await peer.send(b"GET /slow HTTP/1.1\r\nhost: a.b\r\n\r\n")
    quick = await proxy.client()
    for _ in range(beside):
        await quick.send(b"GET /quick HTTP/1.1\r\nhost: a.b\r\n\r\n")
        assert (await quick.message())[0].startswith(b"HTTP/1.1 200")
    return peers


@pytest.mark.trio
@pytest.mark.parametrize(
    ("kind", "limits"), [(Gate, Limits(timeout=60.0)), (ThreadGate, Limits(timeout=60.0, threads=9))]
)
async def test_others_are_answered_while_hooks_hang(proxy: Proxy, kind: type[Base], limits: Limits) -> None:
    gate: Any = fresh(kind)
    await serve(proxy, gate, Fails, limits=limits)
    peers = await ask_beside_the_blocked(proxy, blocked=8, beside=200)
    assert stat(proxy, "active") == 8  # none of them has gone on meanwhile
    gate.opened.set()
    for peer in peers:
        assert (await peer.message())[0].startswith(b"HTTP/1.1 200")


@pytest.mark.trio
async def test_streams_of_one_connection_do_not_wait_for_each_other(proxy: Proxy) -> None:
    gate: Any = fresh(Gate)
    await serve(proxy, gate, limits=Limits(timeout=60.0))
    peer = await proxy.client()
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
    client.initiate_connection()
    head = [(":method", "GET"), (":scheme", "http"), (":authority", "a.b")]
    for number in range(40):
        path = "/slow" if number % 4 == 0 else "/quick"
        client.send_headers(2 * number + 1, [*head, (":path", path)], end_stream=True)
    ended: list[int] = []

    async def until(count: int) -> None:
        while len(ended) < count:
            await peer.send(client.data_to_send())
            data = await peer.read()
            assert data
            events = client.receive_data(data)
            ended.extend(event.stream_id for event in events if isinstance(event, h2.events.StreamEnded))

    await until(30)
    assert all(stream % 8 != 1 for stream in ended)
    gate.opened.set()
    await until(40)


CHOICES = ("quick", "slow", "slow-body", "error", "error-later", "leave")


class Mixed(Base):
    """Does what the path says."""

    opened = trio.Event()

    async def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        if headers.path == "/slow":
            await type(self).opened.wait()
        if headers.path == "/error-later":
            await trio.lowlevel.checkpoint()
        if headers.path.startswith("/error"):
            raise RuntimeError

    async def on_request_data(self, exchange: Exchange, data: bytes) -> bytes:
        if exchange.request.path == "/slow-body":
            await type(self).opened.wait()
        return data


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=30))
def test_no_mixture_of_slow_and_broken_requests_delays_a_quick_one(mixture: list[str]) -> None:
    """Quick requests are answered in their turn, however many before them hang, fail or are given up; all end as they should."""

    async def run() -> None:
        kind: Any = type("Mixed", (Mixed,), {"opened": trio.Event()})
        async with running_proxy() as proxy:
            await serve(proxy, kind, limits=Limits(timeout=60.0))
            hanging: list[Peer] = []
            for what in mixture:
                peer = await proxy.client()
                await peer.send(POST % ("slow" if what == "leave" else what).encode())
                if what.startswith("slow"):
                    hanging.append(peer)
                elif what == "leave":
                    await peer.close()
                else:
                    status = b"200" if what == "quick" else b"500"
                    assert (await peer.message())[0].startswith(b"HTTP/1.1 " + status)
            kind.opened.set()
            for peer in hanging:
                assert (await peer.message())[0].startswith(b"HTTP/1.1 200")
            await eventually(lambda: stat(proxy, "active") == 0)
            await eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 0)
            assert stat(proxy, "errors") == sum(what.startswith("error") for what in mixture)

    trio.run(run)


class Slowly(Base):
    """Takes a body piece by piece, each when the test lets it; keeps the order."""

    opened = trio.Event()

    async def on_request_data(self, exchange: Exchange, data: bytes) -> bytes:
        await type(self).opened.wait()
        return data

    async def on_response_data(self, exchange: Exchange, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return data


@pytest.mark.trio
async def test_a_body_that_waits_for_its_hook_is_read_no_further_and_arrives_in_order(proxy: Proxy) -> None:
    size = 8 << 20
    sent = b"".join(b"%07d\n" % number for number in range(size // 8))
    kind: Any = type("Slowly", (Slowly,), {"opened": trio.Event()})
    got: list[bytes] = []

    async def echo(peer: Peer, _number: int) -> None:
        await peer.read_until(b"\r\n\r\n")
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await peer.read()
        pieces = []
        while body:
            length, _, body = body.partition(b"\r\n")
            pieces.append(body[: int(length, 16)])
            body = body[int(length, 16) + 2 :]
        got.append(b"".join(pieces))
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (size, got[0]))

    await serve(proxy, kind, limits=Limits(timeout=60.0), origin=echo)
    peer = await proxy.client()
    written = 0

    async def upload() -> None:
        nonlocal written
        head = b"POST / HTTP/1.1\r\nhost: a.b\r\ncontent-length: %d\r\n\r\n" % size
        await peer.send(head)
        for start in range(0, size, 65536):
            await peer.stream.send_all(sent[start : start + 65536])
            written += 65536

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        await eventually(lambda: (proxy.stat("http.test.downstream_flow_control_paused_reading_total") or 0) > 0)
        assert written < size
        kind.opened.set()
        head = await peer.read_until(b"\r\n\r\n")
        assert b"chunked" in head
        body = b""
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += await peer.read()
    assert got == [sent]
    answer = b""
    while body:
        length, _, body = body.partition(b"\r\n")
        answer += body[: int(length, 16)]
        body = body[int(length, 16) + 2 :]
    assert answer == sent


@pytest.mark.trio
@pytest.mark.parametrize("way", ["request", "response"])
async def test_a_body_that_is_collected_is_bounded(proxy: Proxy, way: str) -> None:
    class Collects(Base):
        def on_request_data(self, exchange: Exchange, data: bytes) -> None:
            """Only wants it whole."""

        def on_response_data(self, exchange: Exchange, data: bytes) -> None:
            """Only wants it whole."""

    async def large(peer: Peer, _number: int) -> None:
        await peer.message()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc")

    limits = Limits(buffer_request_bytes=2) if way == "request" else Limits(buffer_response_bytes=2)
    await serve(proxy, Collects, limits=limits, origin=large)
    peer = await proxy.client()
    await peer.send(POST % b"")
    head, body = await peer.message()
    expected = (b"413", b"Payload Too Large") if way == "request" else (b"500", b"Internal Server Error")
    assert (head.split(b" ")[1], body) == expected


class Serves(Base):
    """Has a task of its own, which fails once."""

    runs = 0
    ended = 0

    async def serve(self) -> None:
        kind = type(self)
        kind.runs += 1
        if kind.runs == 1:
            raise RuntimeError
        try:
            await trio.sleep_forever()
        finally:
            kind.ended += 1


@pytest.mark.trio
async def test_the_task_of_a_filter_starts_again_and_ends_with_its_configuration(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    kind: Any = type("Serves", (Serves,), {"runs": 0, "ended": 0})
    await serve(proxy, kind)
    await eventually(lambda: kind.runs == 2)
    assert kind.ended == 0
    proxy.listeners.remove("l")
    await eventually(lambda: kind.ended == 1)
    assert "filter f0: serve failed; it starts again in 1 s" in caplog.text


@pytest.mark.trio
async def test_routes_have_configurations_of_their_own(proxy: Proxy) -> None:
    class Says(Base):
        def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> Reply:
            return Reply(200, repr((self.config_for(exchange), len(exchange.route_configs))).encode())

    own = replace(forward(prefix=b"/own"), filters={"f0": FilterOverride(PythonRouteConfig("f0", {"a": 1}))})
    other = replace(forward(prefix=b"/other"), filters={"f0": FilterOverride(PythonRouteConfig("g", {"a": 1}))})
    off = replace(forward(prefix=b"/off"), filters={"f0": FilterOverride(disabled=True)})
    proxy.route(own, other, off, forward())
    await serve(proxy, Says, route=None)
    assert [(await proxy.get(path))[2] for path in (b"/own", b"/other", b"/off", b"/")] == [
        b"({'a': 1}, 1)",
        b"({}, 0)",
        b"ok",
        b"({}, 0)",
    ]


@pytest.mark.trio
async def test_hooks_see_the_exchange_and_may_send_it_elsewhere(proxy: Proxy) -> None:
    seen: list[tuple[str, ...]] = []

    class Looks(Base):
        def __init__(self, config: Mapping[str, Any], context: FilterContext) -> None:
            super().__init__(config, context)
            self.seen = context.counter("seen")

        def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
            self.seen.value += 1
            headers.path = "/elsewhere"
            exchange.reroute()
            seen.append((exchange.route_name, exchange.cluster_name, exchange.protocol, exchange.request_id))
            assert exchange.remote_address.startswith("127.0.0.1:")
            assert exchange.local_address == f"127.0.0.1:{proxy.port}"

        def on_end(self, exchange: Exchange, status: int, details: str) -> None:
            seen.append((str(status), details))

    proxy.route(replace(forward("d", prefix=b"/elsewhere"), name="d"), replace(forward(), name="c"))
    origin = await serve(proxy, Looks, route=None)
    proxy.cluster("d", origin.port)
    assert (await proxy.get(headers=b"x-request-id: i\r\n"))[0] == 200
    assert seen == [("c", "c", "HTTP/1.1", "i"), ("200", "via_upstream")]
    assert stat(proxy, "seen") == 1
    assert origin.connections == 1
    assert proxy.stat("cluster.d.upstream_rq_total") == 1


def test_failures_are_logged_a_few_times_a_second(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog("f", logging.getLogger("test"))
    for number in range(LINES_PER_SECOND + 3):
        failures.tell("on_end", "failed", 10.0 + number / 1000.0, RuntimeError("x"))
    assert len(caplog.records) == LINES_PER_SECOND
    failures.tell("on_end", "failed", 11.0)
    assert "(3 more were not logged)" in caplog.records[-1].getMessage()
    assert "RuntimeError: x" in caplog.records[0].getMessage()


def test_trailers_are_headers() -> None:
    assert Headers.of_raw([(b"a", b"1")]).items() == [("a", "1")]
