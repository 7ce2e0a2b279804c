"""The move under load counts what it should; the move itself is ``nox -s dualmode_move``."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from harness.eventually import eventually_async
from harness.ports import free_port
from move.applications import Server
from move.consumers import Consumer
from move.figures import figures, table
from move.script import MISHAPS, steps


@pytest.mark.parametrize("instances", [1, 4, 20])
def test_every_instance_goes_there_and_then_back_among_all_mishaps(instances: int) -> None:
    found = steps(instances, seed=3)
    assert found == steps(instances, seed=3)
    assert [one.to_mesh for one in found] == [True] * instances + [False] * instances
    assert sorted(one.instance for one in found[:instances]) == [*range(instances)]
    assert sorted(one.instance for one in found[instances:]) == [*range(instances)]
    assert Counter(mishap for one in found for mishap in one.mishaps) == Counter(MISHAPS)


class Counted(Server):
    """A server that knows how many connections its port has."""

    def __init__(self, port: int, connections: Counter[int]) -> None:
        super().__init__(port)
        self._port = port
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections[self._port] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections[self._port] -= 1


@pytest.mark.asyncio
async def test_a_consumer_follows_what_it_is_shown_and_counts_what_fails() -> None:
    loop = asyncio.get_running_loop()
    ports = [free_port(), free_port()]
    connections = Counter[int]()
    servers = [
        await loop.create_server(lambda port=port: Counted(port, connections), "127.0.0.1", port)  # type: ignore[misc]
        for port in ports
    ]
    first, second = (f"127.0.0.1:{port}" for port in ports)
    shown = [first]
    stopping = threading.Event()
    consumer = Consumer("it", "sdk", lambda: shown, "host", rate=100)
    started = time.monotonic()
    running = asyncio.create_task(consumer.run(started, stopping))
    tally = consumer.tally

    async def more(counter: Counter[str], way: str) -> None:
        before = counter[way]
        await eventually_async(_true_when(lambda: counter[way] > before + 5), what=f"more {way}")

    await more(tally.requests, "native")
    shown[:] = [second]
    servers[0].close()
    await more(tally.requests, "native")
    await eventually_async(_true_when(lambda: connections[ports[0]] == 0), what="kept connections that are closed")
    assert not tally.failures
    shown[:] = [first]
    await more(tally.failures, "unanswered")
    shown.clear()
    await more(tally.failures, "unanswered")
    stopping.set()
    await running
    servers[1].close()
    await eventually_async(_true_when(lambda: not connections.total()), what="no connection")
    found = figures([consumer], 2, 1, time.monotonic() - started, [], [])
    assert found.requests == tally.requests.total()
    assert found.failed == tally.failures["unanswered"] == tally.requests["unanswered"]
    assert any("no address is shown" in why for _, why in found.reasons["it"])
    assert any(first in why for _, why in found.reasons["it"])
    assert f"{found.failed} failed (seed 1)" in table(found)


def _true_when(check: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return check()

    return look
