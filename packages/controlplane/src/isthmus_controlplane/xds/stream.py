"""Pumps one gRPC stream: requests into its session, the session's responses out, each with a deadline."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Protocol

import grpc

from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.fleet import Client, Fleet
from isthmus_controlplane.xds.message import Response
from isthmus_controlplane.xds.metrics import XdsMetrics, type_label
from isthmus_controlplane.xds.push import PushLog
from isthmus_controlplane.xds.session import Received
from isthmus_controlplane.xds.wire import decode, encode


class ByteStream(Protocol):
    """The part of ``grpc.aio.ServicerContext`` that a stream needs, with messages as bytes."""

    async def read(self) -> object:
        """Return the next request's bytes, or ``grpc.aio.EOF``."""
        ...

    async def write(self, message: bytes) -> None:
        """Send a response; returns when the transport has taken it."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a stream may take.

    Attributes:
        first_request: from the start of a stream to its first request.
        write: until the transport took a response. A client that does not read runs into this.
    """

    first_request: float = 30.0
    write: float = 30.0


DEFAULT_DEADLINES = Deadlines()


@dataclasses.dataclass(frozen=True, slots=True)
class Pump:
    """Runs one stream to its end.

    Attributes:
        stream: bytes in and out.
        client: the stream's entry in the fleet.
        woken: set by ``client.wake``.
        fleet: where the node is made known.
        pushes: told what is sent and acknowledged.
        metrics: counts it.
        deadlines: see there.
        identifier: text of ``control_plane`` in responses.
    """

    stream: ByteStream
    client: Client
    woken: asyncio.Event
    fleet: Fleet
    pushes: PushLog
    metrics: XdsMetrics
    deadlines: Deadlines
    identifier: str

    async def run(self) -> None:
        """Read and write until the client is done.

        Raises:
            StreamError: the stream has to end with that status.
        """
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self.deadlines.first_request):
                raw = await self.stream.read()
        except TimeoutError as error:
            text = f"no request within {self.deadlines.first_request} s of opening the stream"
            raise StreamError("DEADLINE_EXCEEDED", text) from error
        while isinstance(raw, bytes):
            self._take(raw)
            raw = await self.stream.read()

    def _take(self, raw: bytes) -> None:
        request, node = decode(self.client.session.variant, raw)
        if self.client.node is None:
            if node is None:
                raise StreamError("INVALID_ARGUMENT", "node is missing in the first request of the stream")
            self.fleet.identify(self.client, node)
        self._count(self.client.session.receive(request))
        self.pushes.note_progress(self.client.id, self.client.session.progress)
        self.woken.set()

    def _count(self, received: Received) -> None:
        label = type_label(received.type_url)
        if received.acknowledged:
            self.metrics.count("acks", "type", label)
        if received.nack is not None:
            self.metrics.count("nacks", "type", label)
        if received.stale:
            self.metrics.count("stale_nonces", "type", label)

    async def _write(self) -> None:
        session = self.client.session
        while True:
            self.woken.clear()
            while (response := session.next_response(time.monotonic())) is not None:
                self.pushes.note_sent(self.client.id)
                await self._send(response)
            self.pushes.note_progress(self.client.id, session.progress)
            await self._wait(session.next_deadline())

    async def _send(self, response: Response) -> None:
        raw = encode(self.client.session.variant, response, self.identifier)
        label = type_label(response.type_url)
        self.metrics.count("responses", "type", label)
        self.metrics.count("response_bytes", "type", label, len(raw))
        try:
            async with asyncio.timeout(self.deadlines.write):
                await self.stream.write(raw)
        except TimeoutError as error:
            text = f"a response was not read within {self.deadlines.write} s; reconnect and keep reading"
            raise StreamError("DEADLINE_EXCEEDED", text) from error

    async def _wait(self, deadline: float | None) -> None:
        """Wait for something to do, or for the moment at which an ordered push goes out unacknowledged."""
        if deadline is None:
            await self.woken.wait()
            return
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await self.woken.wait()
        except TimeoutError:
            return


def status_code(error: StreamError) -> grpc.StatusCode:
    """Return the gRPC status code of an error."""
    return grpc.StatusCode[error.code]
