"""gRPC in numbers: a thousand streams held at once, and connections that are told to go away in the middle of a load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.isthmus import Proxy
from test_grpc import SERVICE, bootstrap, resident_mb

STREAMS = 1000
CALLS = 4000
DEADLINE_S = 60.0


async def _echo(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _answer(request: bytes, _context: object) -> bytes:
    await asyncio.sleep(0.002)
    return request


@asynccontextmanager
async def server(**options: int) -> AsyncIterator[int]:
    """A gRPC server that answers with what it was sent; gives its port."""
    made = grpc.aio.server(options=[(f"grpc.{name}", value) for name, value in options.items()])
    handlers = {
        "Chat": grpc.stream_stream_rpc_method_handler(_echo),
        "Unary": grpc.unary_unary_rpc_method_handler(_answer),
    }
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = made.add_insecure_port("127.0.0.1:0")
    await made.start()
    try:
        yield port
    finally:
        await made.stop(None)


@asynccontextmanager
async def scene(
    folder: Path, manager: dict[str, Any] | None = None, **options: int
) -> AsyncIterator[tuple[Proxy, int]]:
    """A server behind the proxy: the proxy, and its port."""
    async with server(**options) as origin:
        port, made = bootstrap(origin, folder)
        chain = made["static_resources"]["listeners"][0]["filter_chains"][0]
        chain["filters"][0]["typed_config"] |= manager or {}
        with await asyncio.to_thread(Proxy, made, folder) as proxy:
            await asyncio.to_thread(proxy.wait_ready)
            yield proxy, port


async def stat(proxy: Proxy, name: str) -> int:
    """The value of a counter or gauge."""
    response = await asyncio.to_thread(proxy.admin, "/stats")
    lines = response.body.decode().splitlines()
    return next(int(line.partition(": ")[2]) for line in lines if line.startswith(f"{name}: "))


async def until(proxy: Proxy, name: str, value: int) -> None:
    """Wait until a stat has a value."""
    async with asyncio.timeout(DEADLINE_S):
        while await stat(proxy, name) != value:  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_a_thousand_streams_are_held_at_once_and_given_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as (proxy, port):
        before = resident_mb(proxy.process.pid)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
            channel: Any = opened  # the stubs want serialisers, without which bytes are bytes
            chat = channel.stream_stream(f"/{SERVICE}/Chat")
            calls = [chat() for _ in range(STREAMS)]
            for said in (b"while they open", b"when all are open"):
                await asyncio.gather(*(call.write(said) for call in calls))
                assert set(await asyncio.gather(*(call.read() for call in calls))) == {said}
            assert await stat(proxy, "http2.streams_active") == STREAMS
            assert await stat(proxy, "cluster.origin.http2.streams_active") == STREAMS
            assert resident_mb(proxy.process.pid) - before < 60
            for call in calls[: STREAMS // 2]:
                call.cancel()
            await until(proxy, "http2.streams_active", STREAMS // 2)
            await asyncio.gather(*(call.done_writing() for call in calls[STREAMS // 2 :]))
            assert {await call.code() for call in calls[STREAMS // 2 :]} == {grpc.StatusCode.OK}
        await until(proxy, "http2.streams_active", 0)
        await until(proxy, "cluster.origin.http2.streams_active", 0)
        await until(proxy, "cluster.origin.upstream_rq_active", 0)


async def _load(port: int) -> None:
    """Calls, fifty at a time, none of which may fail."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        channel: Any = opened
        call = channel.unary_unary(f"/{SERVICE}/Unary")

        async def worker(number: int) -> None:
            for turn in range(CALLS // 50):
                said = b"%d-%d" % (number, turn)
                assert await call(said, timeout=DEADLINE_S) == said

        await asyncio.gather(*(worker(number) for number in range(50)))


@pytest.mark.asyncio
async def test_a_server_that_sends_goaways_loses_no_call(tmp_path: Path) -> None:
    ages = {"max_connection_age_ms": 150, "max_connection_age_grace_ms": 5000}
    async with scene(tmp_path, None, **ages) as (proxy, port):
        await _load(port)
        assert await stat(proxy, "cluster.origin.upstream_cx_close_notify") > 1
        assert await stat(proxy, "cluster.origin.upstream_rq_2xx") == CALLS


@pytest.mark.asyncio
async def test_goaways_of_ours_lose_no_call(tmp_path: Path) -> None:
    duration = {"common_http_protocol_options": {"max_connection_duration": "0.2s"}, "drain_timeout": "0.1s"}
    async with scene(tmp_path, duration) as (proxy, port):
        await _load(port)
        assert await stat(proxy, "http.bench.downstream_cx_max_duration_reached") > 1
        assert await stat(proxy, "cluster.origin.upstream_rq_2xx") == CALLS
