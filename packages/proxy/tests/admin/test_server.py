from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest, AdminResponse, Endpoint, text
from isthmus_proxy.admin.server import LIMITS, admin_server
from isthmus_proxy.local_server import LocalServer, ServerLimits

HEAD_OF_OK = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\ncache-control: no-cache, max-age=0\r\n"
    b"x-content-type-options: nosniff\r\ndate: "
)


def broken(_request: AdminRequest) -> AdminResponse:
    raise RuntimeError("a fault")


def long(_request: AdminRequest) -> AdminResponse:
    def pieces() -> Iterator[str]:
        for _ in range(1000):
            yield "@" * 1000

    return AdminResponse(200, pieces())


def make_server(limits: ServerLimits = LIMITS) -> LocalServer:
    return admin_server(
        Dispatcher(
            [
                Endpoint("/ready", "", lambda _: text("LIVE\n")),
                Endpoint("/long", "", long),
                Endpoint("/broken", "", broken),
            ]
        ).answer,
        limits,
    )


@asynccontextmanager
async def connection(server: LocalServer | None = None) -> AsyncIterator[trio.abc.Stream]:
    """The client's end of a connection that is being served."""
    client, peer = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon((server or make_server()).serve, peer)
        yield client
        nursery.cancel_scope.cancel()


async def read_all(client: trio.abc.Stream) -> bytes:
    data = bytearray()
    with trio.fail_after(20):
        while received := await client.receive_some():
            data += received
    return bytes(data)


async def read_until(client: trio.abc.Stream, end: bytes) -> bytes:
    data = bytearray()
    with trio.fail_after(20):
        while not data.endswith(end):
            data += await client.receive_some()
    return bytes(data)


@pytest.mark.trio
async def test_an_answer_has_envoys_headers() -> None:
    async with connection() as client:
        await client.send_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await read_until(client, b"0\r\n\r\n")
        assert answer.startswith(HEAD_OF_OK)
        assert answer.endswith(b" GMT\r\nserver: envoy\r\ntransfer-encoding: chunked\r\n\r\n5\r\nLIVE\n\r\n0\r\n\r\n")


@pytest.mark.trio
async def test_connections_are_kept_and_pipelined_requests_answered_in_turn() -> None:
    async with connection() as client:
        request = b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n"
        await client.send_all(request + request + b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answers = await read_all(client)
        assert answers.count(b"LIVE") == 3
        assert answers.count(b"connection: close\r\n") == 1


@pytest.mark.trio
async def test_bodies_of_requests_are_read_and_dropped() -> None:
    async with connection() as client:
        for part in (b"POST /ready HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab", b"cde"):
            await client.send_all(part)
        assert b"LIVE" in await read_until(client, b"0\r\n\r\n")
        await client.send_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"LIVE" in await read_until(client, b"0\r\n\r\n")


@pytest.mark.trio
async def test_head_has_no_body() -> None:
    async with connection() as client:
        await client.send_all(b"HEAD /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = await read_all(client)
        assert answer.endswith(b"\r\n\r\n")
        assert b"LIVE" not in answer


@pytest.mark.trio
async def test_a_long_answer_arrives_whole() -> None:
    async with connection() as client:
        await client.send_all(b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await read_all(client)).count(b"@") == 1_000_000


@pytest.mark.trio
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 17000 + b"\r\n\r\n", b"431"),
        (b"POST /ready HTTP/1.1\r\nhost: a\r\ncontent-length: 70000\r\n\r\n" + b"z" * 66000, b"413"),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(request_bytes: bytes, status: bytes) -> None:
    async with connection() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, request_bytes)
        answer = await read_all(client)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close\r\n" in answer


@pytest.mark.trio
async def test_a_silent_client_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    async with connection() as client:
        with trio.fail_after(100):
            assert await client.receive_some() == b""
        assert trio.current_time() == pytest.approx(LIMITS.idle_seconds)


@pytest.mark.trio
async def test_half_a_request_is_not_waited_for_long(autojump_clock: trio.testing.MockClock) -> None:
    async with connection() as client:
        await client.send_all(b"GET /ready HTTP/1.1\r\nho")
        with trio.fail_after(100):
            assert await client.receive_some() == b""
        assert trio.current_time() == pytest.approx(LIMITS.request_seconds)


@pytest.mark.trio
async def test_one_connection_too_many_is_told_so() -> None:
    server = make_server(ServerLimits(connections=1))
    async with connection(server) as first:
        await first.send_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"LIVE" in await read_until(first, b"0\r\n\r\n")
        async with connection(server) as second:
            assert (await read_all(second)).startswith(b"HTTP/1.1 503")
    async with connection(server) as third:
        await third.send_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"LIVE" in await read_until(third, b"0\r\n\r\n")


@pytest.mark.trio
async def test_a_fault_in_an_answer_ends_only_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    server = make_server()
    async with connection(server) as client:
        await client.send_all(b"GET /broken HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await read_all(client) == b""
    assert "a request to the admin server failed" in caplog.text
    async with connection(server) as client:
        await client.send_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"LIVE" in await read_until(client, b"0\r\n\r\n")
