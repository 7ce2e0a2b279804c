"""Length-prefixed gRPC messages inside an HTTP/2 stream's data; no I/O (gRPC over HTTP/2, "Length-Prefixed-Message")."""

from __future__ import annotations

import struct

from isthmus_proxy.grpc.status import RESOURCE_EXHAUSTED, UNIMPLEMENTED, GrpcError

_PREFIX = struct.Struct(">BI")


def frame(message: bytes) -> bytes:
    """``message`` with its prefix, uncompressed."""
    return _PREFIX.pack(0, len(message)) + message


class MessageReader:
    """Cuts received data into messages. Holds at most one unfinished message of ``max_bytes``."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Take ``data`` and return the messages that are whole now. Raises GrpcError for what cannot be accepted."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(buffer, start)
            if compressed:
                raise GrpcError(UNIMPLEMENTED, "the server sent a compressed message although none was offered")
            if length > self._max_bytes:
                raise GrpcError(RESOURCE_EXHAUSTED, f"a message of {length} bytes; at most {self._max_bytes} are taken")
            end = start + _PREFIX.size + length
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[start + _PREFIX.size : end]))
            start = end
        del buffer[:start]
        return messages

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._buffer)
