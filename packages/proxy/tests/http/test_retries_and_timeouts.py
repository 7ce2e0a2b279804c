"""Retries, circuit breakers and timeouts of a connection manager, with real origins."""

from __future__ import annotations

import pytest
import trio

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.route.model import (
    RetryPolicy,
)
from isthmus_proxy.testing import Peer, Proxy, answer_ok, eventually, forward

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


async def test_circuit_breakers_refuse_with_overflow(proxy: Proxy) -> None:
    release = trio.Event()

    async def slow(peer: Peer, _number: int) -> None:
        await peer.message()
        await release.wait()
        await peer.send(OK)
        await answer_ok(peer, 0)

    origin = await proxy.origin(slow)
    proxy.cluster("c", origin.port, thresholds=Thresholds(max_connections=1, max_pending_requests=1))
    proxy.route(forward())
    proxy.http()
    waiting = [await proxy.client() for _ in range(2)]
    for number, peer in enumerate(waiting):
        await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await eventually(lambda n=number: proxy.stat("http.test.downstream_rq_active") == n + 1)  # type: ignore[misc]
        await eventually(lambda: proxy.stat("cluster.c.upstream_rq_active") == 1)
    status, head, body = await proxy.get()
    assert status == 503
    assert b"x-envoy-overloaded: true\r\n" in head
    assert body.endswith(b"reset reason: overflow")
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].upstream_host) == ("UO", "")
    release.set()
    for peer in waiting:
        assert (await peer.message())[1] == b"ok"
    assert proxy.stat("cluster.c.upstream_rq_pending_overflow") == 1
    assert proxy.stat("cluster.c.upstream_rq_pending_active") == 0


@pytest.mark.parametrize(
    ("retry_on", "first", "expected"),
    [
        ("5xx", b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", 200),
        ("gateway-error", b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", 500),
        ("retriable-4xx", b"HTTP/1.1 409 X\r\ncontent-length: 3\r\n\r\nabc", 200),
        ("reset", b"", 200),
        ("connect-failure", b"", 503),
        ("5xx", b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\npart", 200),
    ],
)
async def test_retries(proxy: Proxy, retry_on: str, first: bytes, expected: int) -> None:
    answered = 0

    async def keep(peer: Peer, number: int) -> None:
        """The first answer ever given is ``first``; the connection may be kept."""
        nonlocal answered
        while True:
            await peer.message()
            answered += 1
            if answered == 1:
                if not first:
                    return
                await peer.send(first)
            else:
                await peer.send(OK)

    origin = await proxy.origin(keep)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({retry_on}), base_interval=0.001)))
    proxy.http()
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
    head, _ = await peer.message()
    assert int(head.split(b" ")[1]) == expected
    line = proxy.logs.lines[0]
    assert line.attempts == (2 if expected == 200 else 1)
    assert proxy.stat("cluster.c.upstream_rq_retry") == (1 if expected == 200 else 0)


async def test_retries_run_out(proxy: Proxy) -> None:
    proxy.cluster("c", 1)
    proxy.route(forward(retry=RetryPolicy(frozenset({"connect-failure"}), num_retries=2, base_interval=0.001)))
    proxy.http()
    status, _, body = await proxy.get()
    assert status == 503
    assert b"headers. retried and the latest reset reason: remote connection failure" in body
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].attempts) == ("URX,UF", 3)
    assert proxy.stat("cluster.c.upstream_rq_retry_limit_exceeded") == 1
    assert proxy.clusters.get("c").breakers[0].active_retries == 0  # type: ignore[union-attr]


async def test_retries_go_to_another_endpoint(proxy: Proxy) -> None:
    origin = await proxy.origin()
    proxy.cluster("c", 1, origin.port)
    policy = RetryPolicy(
        frozenset({"connect-failure"}), base_interval=0.001, avoid_previous_hosts=True, host_selection_attempts=3
    )
    proxy.route(forward(retry=policy))
    proxy.http()
    for _ in range(20):
        assert (await proxy.get())[0] == 200


async def hang(peer: Peer, _number: int) -> None:
    await peer.message()
    await peer.read_all()


async def test_route_timeout(proxy: Proxy) -> None:
    origin = await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.route(forward(timeout=0.05))
    proxy.http()
    assert (await proxy.get())[::2] == (504, b"upstream request timeout")
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].details) == ("UT", "response_timeout")
    await eventually(lambda: proxy.stat("cluster.c.upstream_cx_active") == 0)


async def test_per_try_timeout_is_retried(proxy: Proxy) -> None:
    async def second(peer: Peer, number: int) -> None:
        await (hang if number == 0 else answer_ok)(peer, number)

    origin = await proxy.origin(second)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({"5xx"}), per_try_timeout=0.05, base_interval=0.001)))
    proxy.http()
    assert (await proxy.get())[0] == 200
    assert proxy.stat("cluster.c.upstream_rq_per_try_timeout") == 1


async def test_per_try_timeout_without_retries_left(proxy: Proxy) -> None:
    origin = await proxy.origin(hang)
    proxy.cluster("c", origin.port)
    proxy.route(forward(retry=RetryPolicy(frozenset({"5xx"}), per_try_timeout=0.02, base_interval=0.001)))
    proxy.http()
    assert (await proxy.get())[0] == 504
    assert (proxy.logs.lines[0].flags, proxy.logs.lines[0].details) == ("URX,UT", "upstream_per_try_timeout")


async def test_stream_idle_timeout(proxy: Proxy) -> None:
    await proxy.relay(hang, stream_idle_timeout=0.05)
    assert (await proxy.get())[::2] == (504, b"stream timeout")
    peer = await proxy.client()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
    assert (await peer.message())[0].startswith(b"HTTP/1.1 408 ")
    assert await closes(peer)
    assert {line.flags for line in proxy.logs.lines} == {"SI"}


async def test_slow_heads_and_idle_connections(proxy: Proxy) -> None:
    await proxy.relay(request_headers_timeout=0.05, idle_timeout=0.1)
    peer = await proxy.client()
    await peer.send(b"GET / HT")
    assert (await peer.message())[0].startswith(b"HTTP/1.1 408 ")
    assert await closes(peer)
    assert await closes(await proxy.client())
    assert proxy.stat("http.test.downstream_cx_idle_timeout") == 1
