"""Bolt frames, version 1, as SOFARegistry's session servers speak it; no I/O (sofa-bolt ``RpcProtocol``).

Request: ``1 | type | cmdcode:2 | 1 | requestId:4 | codec | timeout:4 | classLen:2 | headerLen:2 | contentLen:4``; a response has
``status:2`` in the place of the time-out. Then class name, header and content.
"""

from __future__ import annotations

import dataclasses
import struct

PROTOCOL = 1
REQUEST, RESPONSE, ONEWAY = 1, 0, 2
HEARTBEAT, CALL, REPLY = 0, 1, 2
PROTOBUF = 11
MAX_FRAME = 64 * 1024 * 1024
_COMMON = struct.Struct("!BBHBIB")
_REQUEST = struct.Struct("!IHHI")
_RESPONSE = struct.Struct("!HHHI")


class FrameError(ValueError):
    """The bytes are no frame of Bolt version 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One command. ``status`` is a response's; 0 is success."""

    kind: int
    command: int
    request_id: int
    class_name: str = ""
    content: bytes = b""
    status: int = 0

    def encode(self, timeout_ms: int = 3000) -> bytes:
        """As it is sent; ``timeout_ms`` is told with a request."""
        name = self.class_name.encode()
        head = _COMMON.pack(PROTOCOL, self.kind, self.command, 1, self.request_id, PROTOBUF)
        sizes = (len(name), 0, len(self.content))
        if self.kind == RESPONSE:
            return head + _RESPONSE.pack(self.status, *sizes) + name + self.content
        return head + _REQUEST.pack(timeout_ms, *sizes) + name + self.content


class FrameReader:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Frame]:
        """Take bytes. Returns the frames that are whole now; raises FrameError."""
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if buffer and buffer[0] != PROTOCOL:
            raise FrameError(f"begins with {buffer[0]}, not with the protocol code 1")
        if len(buffer) < _COMMON.size:
            return None
        _, kind, command, _, request_id, _ = _COMMON.unpack_from(buffer)
        if kind not in (REQUEST, RESPONSE, ONEWAY):
            raise FrameError(f"has the type {kind}")
        rest = _RESPONSE if kind == RESPONSE else _REQUEST
        start = _COMMON.size + rest.size
        if len(buffer) < start:
            return None
        first, class_length, header_length, content_length = rest.unpack_from(buffer, _COMMON.size)
        end = start + class_length + header_length + content_length
        if end > MAX_FRAME:
            raise FrameError(f"has {end} bytes, more than {MAX_FRAME}")
        if len(buffer) < end:
            return None
        name = bytes(buffer[start : start + class_length]).decode("utf-8", "replace")
        content = bytes(buffer[start + class_length + header_length : end])
        del buffer[:end]
        return Frame(kind, command, request_id, name, content, first if kind == RESPONSE else 0)
