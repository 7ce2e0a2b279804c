"""Pumps one gRPC stream: requests into its session, the session's responses out, each with a deadline."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Protocol

import grpc

from isthmus_controlplane.snapshot.resource import ResourcePool
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.fleet import Client, Fleet
from isthmus_controlplane.xds.message import Response
from isthmus_controlplane.xds.metrics import XdsMetrics, type_label
from isthmus_controlplane.xds.observer import Observer
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


class Pump:
    """Runs one stream to its end: it writes in the task of the RPC, and reads in another."""

    __slots__ = (
        "_client",
        "_deadlines",
        "_ended",
        "_fleet",
        "_identifier",
        "_idle",
        "_metrics",
        "_next",
        "_observer",
        "_pushes",
        "_serialise_once",
        "_stream",
        "_task",
        "_timer",
        "_woken",
        "_writing_since",
    )

    def __init__(
        self,
        stream: ByteStream,
        client: Client,
        woken: asyncio.Event,
        *,
        fleet: Fleet,
        pushes: PushLog,
        metrics: XdsMetrics,
        deadlines: Deadlines,
        identifier: str,
        observer: Observer,
        serialise_once: bool = True,
    ) -> None:
        """Prepare.

        Args:
            stream: bytes in and out.
            client: the stream's entry in the fleet.
            woken: set by ``client.wake``.
            fleet: where requests go.
            pushes: told what is sent and acknowledged.
            metrics: counts it.
            deadlines: see there.
            identifier: text of ``control_plane`` in responses.
            observer: told what comes and goes.
            serialise_once: share the bytes of resources; off, to measure what that brings.
        """
        self._stream = stream
        self._client = client
        self._woken = woken
        self._fleet = fleet
        self._pushes = pushes
        self._metrics = metrics
        self._deadlines = deadlines
        self._identifier = identifier
        self._observer = observer
        self._serialise_once = serialise_once
        self._ended: StreamError | None = None
        self._idle = False  # the writer waits for something to do
        self._next: Response | None = None  # found by the reader while the writer was idle
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing_since: float | None = None

    async def run(self) -> None:
        """Read and write until the client is done.

        Raises:
            StreamError: the stream has to end with that status.
        """
        self._task = asyncio.current_task()
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(lambda _: self._woken.set())
        try:
            await self._write(reader)
        except asyncio.CancelledError:
            if self._ended is None:
                raise
            raise self._ended from None
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if not reader.done():
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    def end(self, error: StreamError) -> None:
        """End the stream with a status as soon as what is being written was taken."""
        self._ended = error
        self._woken.set()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._deadlines.first_request):
                raw = await self._stream.read()
        except TimeoutError as error:
            text = f"no request within {self._deadlines.first_request} s of opening the stream"
            raise StreamError("DEADLINE_EXCEEDED", text) from error
        while isinstance(raw, bytes):
            self._take(raw)
            raw = await self._stream.read()

    def _take(self, raw: bytes) -> None:
        request, node = decode(self._client.session.variant, raw)
        if self._client.node is None:
            if node is None:
                raise StreamError("INVALID_ARGUMENT", "node is missing in the first request of the stream")
            self._fleet.identify(self._client, node)
        received = self._fleet.receive(self._client, request)
        self._count(received)
        self._observer.request(self._client, request)
        if received.nack is not None:
            self._observer.rejected(self._client, received.type_url, received.nack)
        self._look()

    def _look(self) -> None:
        """Look for something to send, and wake the writer for that only: most requests acknowledge, and that is all."""
        session = self._client.session
        if self._idle and not self._woken.is_set():
            self._next = session.next_response(time.monotonic())
            if self._next is None and session.next_deadline() is None:
                self._pushes.note_progress(self._client.id, session.progress)
                return
        self._woken.set()

    def _count(self, received: Received) -> None:
        label = type_label(received.type_url)
        if received.acknowledged:
            self._metrics.count("acks", "type", label)
        if received.nack is not None:
            self._metrics.count("nacks", "type", label)
        if received.stale:
            self._metrics.count("stale_nonces", "type", label)

    async def _write(self, reader: asyncio.Task[None]) -> None:
        session = self._client.session
        while self._ended is None:
            self._woken.clear()
            if reader.done():
                return reader.result()
            while (response := self._take_next() or session.next_response(time.monotonic())) is not None:
                self._pushes.note_sent(self._client.id)
                await self._send(response)
            self._pushes.note_progress(self._client.id, session.progress)
            self._idle = True
            await self._wait(session.next_deadline())
            self._idle = False
        raise self._ended

    def _take_next(self) -> Response | None:
        response, self._next = self._next, None
        return response

    async def _send(self, response: Response) -> None:
        if not self._serialise_once:
            response = self._serialised_again(response)
        raw = encode(self._client.session.variant, response, self._identifier)
        label = type_label(response.type_url)
        self._metrics.count("responses", "type", label)
        self._metrics.count("response_bytes", "type", label, len(raw))
        self._observer.response(self._client, response)
        if self._client.queued_at is not None:
            self._metrics.queue.observe(time.monotonic() - self._client.queued_at)
            self._client.queued_at = None
        self._metrics.sizes.observe(len(raw))
        self._writing_since = time.monotonic()
        if self._timer is None:  # one timer serves many writes, since nearly all of them end at once
            self._timer = asyncio.get_running_loop().call_later(self._deadlines.write, self._check_write)
        await self._stream.write(raw)
        self._writing_since = None

    def _serialised_again(self, response: Response) -> Response:
        snapshot = self._client.session.snapshot
        messages = snapshot.sources.get(response.type_url, {}) if snapshot is not None else {}
        made = (
            ResourcePool().serialised(response.type_url, each.name, messages[each.name])
            if each.name in messages
            else each
            for each in response.resources
        )
        return dataclasses.replace(response, resources=tuple(made))

    def _check_write(self) -> None:
        """End the stream when its write takes too long; look again later when there is a younger one."""
        self._timer = None
        if self._writing_since is None or self._task is None:
            return
        left = self._writing_since + self._deadlines.write - time.monotonic()
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._check_write)
            return
        text = f"a response was not read within {self._deadlines.write} s; reconnect and keep reading"
        self._ended = StreamError("DEADLINE_EXCEEDED", text)
        self._task.cancel()

    async def _wait(self, deadline: float | None) -> None:
        """Wait for something to do, or for the moment at which an ordered push goes out unacknowledged."""
        if deadline is None:
            await self._woken.wait()
            return
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await self._woken.wait()
        except TimeoutError:
            return


def status_code(error: StreamError) -> grpc.StatusCode:
    """Return the gRPC status code of an error."""
    return grpc.StatusCode[error.code]
