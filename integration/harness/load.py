"""Keep-alive HTTP/1.1 load over a fixed number of connections, tallied by phase. Runs in a thread of its own.

A request belongs to the phase in which it was *sent*: what a change does to requests in flight never blurs the phase after it.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from harness.eventually import eventually
from harness.response import Response, ResponseReader
from harness.tally import Failure, Tally

RECONNECT_S = 0.02
SWEEP_S = 0.25
PHASES_KEPT = 64


@dataclass(frozen=True, slots=True)
class Target:
    """What is requested, how often and how."""

    address: str
    path: str = "/"
    authority: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    connections: int = 32
    rate: float | None = None
    """Requests per second over all connections together; None: as fast as answers come."""
    timeout_s: float = 10.0
    body: bytes | None = None
    """With one, even an empty one, it is a POST."""

    def request(self) -> bytes:
        """The bytes of one request."""
        method = "GET" if self.body is None else "POST"
        lines = [
            f"{method} {self.path} HTTP/1.1",
            f"host: {self.authority or self.address}",
            "user-agent: isthmus-load",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body is not None:
            lines.append(f"content-length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + (self.body or b"")


class Load:
    """The load on one target, from ``with`` to the end of its block, or from :meth:`start` to :meth:`stop`."""

    def __init__(self, target: Target, name: str = "") -> None:
        self.target = target
        self.name = name or target.address
        self.phase_name = "start"
        self._phases: dict[str, Tally] = {"start": Tally()}
        self._earlier = Tally()
        self._current = self._phases["start"]
        self._connections: list[_Connection] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name=f"load on {target.address}", daemon=True
        )

    def start(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def stop(self) -> Tally:
        """Send nothing new, wait for answers to what is in flight, close; return the tally of everything."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self.target.timeout_s + 5)
        return self.total()

    def phase(self, name: str) -> Tally:
        """Requests sent from now on are counted under ``name``."""
        tally = self._phases.setdefault(name, Tally())
        self.phase_name, self._current = name, tally
        if len(self._phases) > PHASES_KEPT:
            # So long ago that none of its requests is in flight any more.
            self._earlier.add(self._phases.pop(next(iter(self._phases))))
        return tally

    def tally(self, phase: str) -> Tally:
        """The counts of one phase."""
        return self._phases[phase]

    def total(self) -> Tally:
        """The counts of all phases together."""
        total = Tally()
        total.add(self._earlier)
        for tally in list(self._phases.values()):
            total.add(tally)
        return total

    def failures(self) -> list[Failure]:
        """The failures of all phases, of each phase the last thousand."""
        return [failure for tally in [self._earlier, *self._phases.values()] for failure in list(tally.failures)]

    def sample(self, name: str, requests: int, within: float | None = None) -> Tally:
        """A phase of at least that many answered requests."""
        tally = self.phase(name)
        eventually(lambda: tally.requests >= requests, within=within, what=f"{requests} requests in phase {name}")
        return tally

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def stopping(self) -> bool:
        """Whether nothing new is to be sent."""
        return self._stopping.is_set()

    @property
    def current(self) -> tuple[str, Tally]:
        """The phase now, and its tally."""
        return self.phase_name, self._current

    async def _run(self) -> None:
        self._connections = [_Connection(self, number) for number in range(self.target.connections)]
        for connection in self._connections:
            connection.next_request()
        deadline = float("inf")
        while any(not connection.done for connection in self._connections):
            await asyncio.sleep(SWEEP_S if not self.stopping else 0.01)
            now = time.monotonic()
            if self.stopping:
                deadline = min(deadline, now + self.target.timeout_s)
            for connection in self._connections:
                connection.sweep(now, now > deadline)


class _Connection(asyncio.Protocol):
    """One connection and its endless row of requests; reconnects when the server closes."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._target = load.target
        self._request = load.target.request()
        self._loop = asyncio.get_running_loop()
        self._interval = load.target.connections / load.target.rate if load.target.rate else 0.0
        self._due = time.monotonic() + self._interval * number / load.target.connections
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._in_flight = False
        self._connecting: asyncio.Task[None] | None = None
        self._sent_at = 0.0
        self._phase: tuple[str, Tally] = load.current
        self.done = False

    def next_request(self) -> None:
        """Send the next request when it is due."""
        now = time.monotonic()
        if self._interval and self._due > now:
            self._loop.call_later(self._due - now, self._send)
        else:
            self._loop.call_soon(self._send)
        self._due = max(self._due + self._interval, now)

    def _send(self) -> None:
        if self._load.stopping:
            self._finish()
            return
        self._in_flight = True
        self._sent_at = time.monotonic()
        self._phase = self._load.current
        if self._transport is None:
            self._connecting = self._loop.create_task(self._connect())
        else:
            self._transport.write(self._request)

    async def _connect(self) -> None:
        host, _, port = self._target.address.rpartition(":")
        try:
            async with asyncio.timeout(self._target.timeout_s):
                transport, _ = await self._loop.create_connection(lambda: self, host, int(port))
        except (OSError, TimeoutError) as error:
            self._fail(f"connect: {error or 'timeout'}")
            return
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            response = self._reader.receive(data)
        except ValueError as error:
            self._break(f"invalid response: {error}")
            return
        if response is not None:
            self._answered(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        response = self._reader.end()
        self._reader = ResponseReader()
        if not self._in_flight:
            return
        if response is not None:
            self._answered(response)
        else:
            self._fail(f"connection closed before the answer: {exc or 'EOF'}")

    def sweep(self, now: float, final: bool) -> None:
        """Give up a request that takes too long."""
        if self._in_flight and (final or now - self._sent_at > self._target.timeout_s) and self._transport is not None:
            self._break("timeout")

    def _answered(self, response: Response) -> None:
        self._in_flight = False
        name, tally = self._phase
        tally.requests += 1
        tally.statuses[response.status] += 1
        tally.latencies.record(time.monotonic() - self._sent_at)
        if response.version:
            tally.versions[response.version] += 1
            tally.instances[response.instance] += 1
        if response.status >= 500:
            tally.failed += 1
            tally.failures.append(Failure(time.time(), name, f"{response.status} {response.text}", response.instance))
        if response.close and self._transport is not None:
            self._transport.abort()
            self._transport = None
            self._reader = ResponseReader()
            # connection_lost is still to come for the old transport; it finds nothing in flight or a new transport.
            self._loop.call_later(0.001, self.next_request)
        else:
            self.next_request()

    def _break(self, reason: str) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self._fail(reason)
            transport.abort()

    def _fail(self, reason: str) -> None:
        self._in_flight = False
        name, tally = self._phase
        tally.requests += 1
        tally.failed += 1
        tally.failures.append(Failure(time.time(), name, reason, ""))
        self._reader = ResponseReader()
        self._due = max(self._due, time.monotonic() + RECONNECT_S)
        self._loop.call_later(RECONNECT_S, self._send)

    def _finish(self) -> None:
        self.done = True
        if self._transport is not None:
            self._transport.close()
