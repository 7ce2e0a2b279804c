"""A session server of SOFARegistry in memory: subscriptions and pushes over Bolt and protobuf."""

from __future__ import annotations

import asyncio
import itertools

from isthmus_mcp_bridge.registries import protobuf_wire as wire
from isthmus_mcp_bridge.registries.sofaregistry.bolt import (
    CALL,
    HEARTBEAT,
    REPLY,
    REQUEST,
    RESPONSE,
    Frame,
    FrameReader,
)
from isthmus_mcp_bridge.registries.sofaregistry.messages import PACKAGE, RECEIVED, SUBSCRIBE, DataKey
from isthmus_mcp_bridge.testing.http_server import free_port


def received(key: DataKey, version: int, items: list[str]) -> bytes:
    """ReceivedDataPb with all items in one zone."""
    boxes = b"".join(wire.field(1, wire.field(1, item)) for item in items)
    zone = wire.field(1, "DEFAULT_ZONE") + wire.field(2, boxes)
    return (
        wire.field(1, key.data_id)
        + wire.field(2, key.group)
        + wire.field(3, key.instance_id)
        + wire.field(5, "dataCenter")
        + wire.field(7, zone)
        + wire.field(8, version)
    )


class FakeSofaRegistry:
    """Items by key."""

    def __init__(self) -> None:
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.items: dict[DataKey, list[str]] = {}
        self.answers = 0
        """Responses of clients to pushes."""
        self._versions = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.StreamWriter, set[DataKey]] = {}

    def put(self, key: DataKey, items: list[str]) -> None:
        """Set what is published under a key, and push it."""
        self.items[key] = items
        for writer, keys in self._clients.items():
            if key in keys:
                self._push(writer, key)

    async def start(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """End all connections and listen no longer."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            for writer in list(self._clients):
                writer.transport.abort()
            self._clients.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames, keys = FrameReader(), self._clients.setdefault(writer, set())
        try:
            while data := await reader.read(65536):
                for frame in frames.receive(data):
                    self._handle(frame, writer, keys)
        except OSError:
            return
        finally:
            self._clients.pop(writer, None)
            writer.close()

    def _handle(self, frame: Frame, writer: asyncio.StreamWriter, keys: set[DataKey]) -> None:
        if frame.kind == RESPONSE:
            self.answers += 1
        elif frame.command == HEARTBEAT:
            writer.write(Frame(RESPONSE, HEARTBEAT, frame.request_id).encode())
        elif frame.class_name == SUBSCRIBE:
            base = wire.read(wire.data_of(wire.read(frame.content), 2))
            key = DataKey(wire.text(base, 4), wire.text(base, 5), wire.text(base, 1))
            keys.add(key)
            content = wire.field(1, 1) + wire.field(2, wire.text(base, 7)) + wire.field(3, 1)
            name = PACKAGE + "RegisterResponsePb"
            writer.write(Frame(RESPONSE, REPLY, frame.request_id, name, content).encode())
            self._push(writer, key)

    def _push(self, writer: asyncio.StreamWriter, key: DataKey) -> None:
        version = next(self._versions)
        content = received(key, version, self.items.get(key, []))
        writer.write(Frame(REQUEST, CALL, version, RECEIVED, content).encode())
