"""One connection to a session server: what is written and read on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.protobuf_wire import WireError
from isthmus_mcp_bridge.registries.sofaregistry.bolt import (
    CALL,
    HEARTBEAT,
    REPLY,
    REQUEST,
    RESPONSE,
    Frame,
    FrameError,
    FrameReader,
)
from isthmus_mcp_bridge.registries.sofaregistry.messages import (
    RECEIVED,
    RESULT,
    ReceivedData,
    read_received,
    result,
)

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 5.0
HEARTBEAT_S = 15.0
"""A session server ends a connection that is silent for 90 s."""
SILENT_S = 45.0


class SofaConnection:
    """Calls, pushes and heartbeats on one TCP connection; every failure is a RegistryFault."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
        self._reader = reader
        self._writer = writer
        self._target = target
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}

    async def call(self, class_name: str, content: bytes) -> bytes:
        """One request and the content of its response. Raises RegistryFault."""
        number = next(self._ids) & 0x7FFFFFFF
        done: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = done
        try:
            self._writer.write(Frame(REQUEST, CALL, number, class_name, content).encode())
            async with asyncio.timeout(CALL_TIMEOUT_S):
                frame = await done
        except TimeoutError as error:
            raise RegistryFault(f"SOFARegistry at {self._target} does not answer") from error
        finally:
            self._waiting.pop(number, None)
        if frame.status:
            raise RegistryFault(f"SOFARegistry at {self._target} answers with the status {frame.status}")
        return frame.content

    async def read(self, push: Callable[[ReceivedData], None]) -> None:
        """Read until the connection ends; ``push`` takes what is pushed. Raises RegistryFault at the end."""
        frames = FrameReader()
        try:
            while True:
                async with asyncio.timeout(SILENT_S):
                    data = await self._reader.read(65536)
                if not data:
                    raise RegistryFault(f"SOFARegistry at {self._target} ended the connection")
                for frame in frames.receive(data):
                    self._handle(frame, push)
        except TimeoutError as error:
            raise RegistryFault(f"SOFARegistry at {self._target} is silent for {SILENT_S:g} s") from error
        except (OSError, FrameError, WireError) as error:
            raise RegistryFault(f"SOFARegistry at {self._target}: {error}") from error

    async def beat(self) -> None:
        """Send heartbeats, whose answers ``read`` waits for."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self._writer.write(Frame(REQUEST, HEARTBEAT, next(self._ids) & 0x7FFFFFFF).encode())

    def _handle(self, frame: Frame, push: Callable[[ReceivedData], None]) -> None:
        if frame.kind == RESPONSE:
            done = self._waiting.get(frame.request_id)
            if done is not None and not done.done():
                done.set_result(frame)
        elif frame.command == HEARTBEAT:
            self._writer.write(Frame(RESPONSE, HEARTBEAT, frame.request_id).encode())
        else:
            if frame.class_name == RECEIVED:
                push(read_received(frame.content))
            # Any answer counts as success; none at all makes the server push again and then give up.
            self._writer.write(Frame(RESPONSE, REPLY, frame.request_id, RESULT, result(True)).encode())


@contextlib.asynccontextmanager
async def connected(target: str) -> AsyncIterator[SofaConnection]:
    """A connection to ``host:port``. Raises RegistryFault."""
    host, _, port = target.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError) as error:
        raise RegistryFault(f"SOFARegistry at {target} cannot be reached ({error})") from error
    try:
        yield SofaConnection(reader, writer, target)
    finally:
        writer.transport.abort()
