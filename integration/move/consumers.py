"""Consumers at a steady pace over kept connections, in a thread of their own; no request is ever sent twice.

A consumer draws from the addresses that it is shown, as Dubbo's do. Of an address that it is shown no more it closes what is idle, and
lets end what is under way.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from harness.response import Response, ResponseReader

TIMEOUT_S = 10.0
SWEEP_S = 0.2
FAILURES_KEPT = 1000
UNKNOWN = "unanswered"


@dataclass(slots=True)
class Tally:
    """Requests of one consumer by the way they went: ``native``, ``mesh``, or unanswered."""

    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    by_second: Counter[tuple[int, str]] = field(default_factory=Counter)
    reasons: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))
    """Seconds since the start, and what happened."""


class _Connection(asyncio.Protocol):
    """One kept connection with one request at a time."""

    def __init__(self) -> None:
        self._reader = ResponseReader()
        self._answer: asyncio.Future[Response] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    async def call(self, request: bytes) -> Response:
        """Raises OSError when the connection ends before the answer."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        response = await self._answer
        if response.close:
            self.close()
        return response

    def data_received(self, data: bytes) -> None:
        try:
            response = self._reader.receive(data)
        except ValueError as error:
            self._fail(OSError(f"not a response: {error}"))
            return
        if response is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(OSError(f"closed before the answer: {exc or 'end of stream'}"))

    def _fail(self, error: OSError) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def close(self) -> None:
        """Use it no more."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None


class Consumer:
    """One consumer: whom it may call at a moment is ``shown()``, with what Host header ``host``."""

    def __init__(self, name: str, kind: str, shown: Callable[[], Sequence[str]], host: str, rate: float) -> None:
        self.name = name
        self.kind = kind
        self.tally = Tally()
        self._shown = shown
        self._request = f"GET / HTTP/1.1\r\nhost: {host}\r\nuser-agent: {name}\r\n\r\n".encode()
        self._interval = 1 / rate
        self._idle: dict[str, list[_Connection]] = {}
        self._chance = random.Random(name)

    async def run(self, started: float, stopping: threading.Event) -> None:
        """Send until told to stop, then wait for what is under way."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            sweeper = group.create_task(self._sweep())
            calls: set[asyncio.Task[None]] = set()
            while not stopping.is_set():
                due = max(due + self._interval, loop.time() - self._interval)
                await asyncio.sleep(max(0.0, due - loop.time()))
                calls.add(call := group.create_task(self._one(started)))
                call.add_done_callback(calls.discard)
            await asyncio.gather(*calls)
            sweeper.cancel()
        for connection in itertools.chain.from_iterable(self._idle.values()):
            connection.close()
        await asyncio.sleep(0)  # the loop closes their sockets at its next turn

    async def _sweep(self) -> None:
        while True:
            shown = set(self._shown())
            for address in self._idle.keys() - shown:
                for connection in self._idle.pop(address):
                    connection.close()
            await asyncio.sleep(SWEEP_S)

    async def _one(self, started: float) -> None:
        shown = self._shown()
        at = time.monotonic() - started
        if not shown:
            self._count(at, UNKNOWN, "no address is shown")
            return
        address = self._chance.choice(shown)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._call(address)
        except (OSError, TimeoutError) as error:
            self._count(at, UNKNOWN, f"{address}: {type(error).__name__} {error}".rstrip())
            return
        failed = response.status != 200 or not response.version
        self._count(at, response.version or UNKNOWN, f"{address}: {response.status} {response.text}" * failed)

    async def _call(self, address: str) -> Response:
        idle = self._idle.setdefault(address, [])
        connection = next((one for one in iter(lambda: idle.pop() if idle else None, None) if one.transport), None)
        if connection is None:
            host, _, port = address.rpartition(":")
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, int(port))
        try:
            response = await connection.call(self._request)
        except BaseException:
            connection.close()
            raise
        if connection.transport is not None:
            self._idle.setdefault(address, []).append(connection)
        return response

    def _count(self, at: float, way: str, failure: str) -> None:
        self.tally.requests[way] += 1
        self.tally.by_second[int(at), way] += 1
        if failure:
            self.tally.failures[way] += 1
            self.tally.reasons.append((round(at, 2), failure))


class Consumers:
    """All of them, from ``with`` to :meth:`stop`."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self.all = consumers
        self.started = 0.0
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="consumers", daemon=True)

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send nothing new, and wait for what is under way. Raises what the thread died of."""
        self._stopping.set()
        self._thread.join(TIMEOUT_S + 5)
        if self._error is not None:
            raise self._error

    @property
    def failed(self) -> int:
        """Failed requests so far."""
        return sum(one.tally.failures.total() for one in self.all)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - told by stop
            self._error = error

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(self.all):
                group.create_task(self._later(number, one))

    async def _later(self, number: int, one: Consumer) -> None:
        await asyncio.sleep(number / len(self.all) / 10)  # not all at the same moment
        await one.run(self.started, self._stopping)
