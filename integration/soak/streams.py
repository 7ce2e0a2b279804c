"""Streams of gRPC that are held for minutes: all of them answer to the end, and resident memory does not grow with the time."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.procstat import memory
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.ports import free_port
from soak.configuration import grpc_bootstrap
from soak.verdict import Sample, growth, quarters

METHOD = "/soak.Echo/Chat"
ROUND_S = 1.0
PER_STREAM_KB = 60
"""What one held stream may cost at most: both its sides, with their timers and tables."""


@dataclass(slots=True)
class StreamFigures:
    """What is printed."""

    minutes: float
    streams: int
    messages: int
    rss_mb_start: float
    rss_mb_held: float
    rss_mb_last_quarter: float
    kb_per_stream: float
    objections: list[str]


async def _echo(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


def _sample(at: float, pid: int) -> Sample:
    return Sample(at, memory([pid]).rss_mb, len(list(Path(f"/proc/{pid}/fd").iterdir())))


async def _hold(port: int, streams: int, seconds: float, samples: list[Sample], pid: int) -> int:
    """Hold the streams; in each round every one of them says something and is answered. Answers how many messages came back."""
    messages = 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        channel: Any = opened  # the stubs want serialisers, without which bytes are bytes
        calls = [channel.stream_stream(METHOD)() for _ in range(streams)]
        started = time.monotonic()
        while (at := time.monotonic() - started) < seconds:
            said = b"%d" % messages * 20
            await asyncio.gather(*(call.write(said) for call in calls))
            if set(await asyncio.gather(*(call.read() for call in calls))) != {said}:
                raise AssertionError("a stream was answered with something else")
            messages += streams
            samples.append(_sample(at, pid))
            await asyncio.sleep(ROUND_S)
        await asyncio.gather(*(call.done_writing() for call in calls))
        if {await call.code() for call in calls} != {grpc.StatusCode.OK}:
            raise AssertionError("a stream did not end well")
    return messages


async def _run(minutes: float, streams: int, directory: Path) -> StreamFigures:
    server = grpc.aio.server()
    handlers = {"Chat": grpc.stream_stream_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("soak.Echo", handlers),))
    origin, port = server.add_insecure_port("127.0.0.1:0"), free_port()
    await server.start()
    samples: list[Sample] = []
    try:
        with await asyncio.to_thread(Proxy, grpc_bootstrap(port, origin), directory, name="streams") as proxy:
            await asyncio.to_thread(proxy.wait_ready)
            pid = proxy.process.pid
            before = memory([pid]).rss_mb
            messages = await _hold(port, streams, minutes * 60, samples, pid)
            await asyncio.to_thread(
                eventually, lambda: proxy.stat("http2.streams_active") == 0, what="the end of all streams"
            )
    finally:
        await server.stop(None)
    held = samples[0].rss_mb if samples else before
    each = (max(sample.rss_mb for sample in samples) - before) * 1024 / streams
    found = growth(samples)
    if each > PER_STREAM_KB:
        found.append(f"a held stream costs {each:.0f} kB, more than {PER_STREAM_KB}")
    last = quarters(samples)[1]
    return StreamFigures(
        minutes, streams, messages, round(before, 1), round(held, 1), round(last[-1].rss_mb, 1), round(each, 1), found
    )  # fmt: skip


def run(minutes: float, streams: int) -> StreamFigures:
    """Hold ``streams`` streams for ``minutes``."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_run(minutes, streams, Path(name)))
