"""Dubbo's Thrift protocol (ThriftCodec) as a codec plug-in: all that a new protocol takes.

4 bytes   size of what follows (Thrift's framed transport)
2 bytes   magic 0xdabc
4 bytes   size of what follows the frame size, again
2 bytes   size of the header, from the magic to the identifier
1 byte    version
string    service, a length of 4 bytes before it
8 bytes   identifier
message   Thrift's binary protocol: version and type, method, sequence number, arguments or result
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct

from isthmus_proxy.codec.rpc import (
    ONE_WAY,
    REQUEST,
    RESPONSE,
    Field,
    Frame,
    RpcProtocolError,
    RpcRequest,
    Split,
    Unreadable,
)

MAGIC = 0xDABC
_HEAD = Struct(">IHIHBI")  # the last number is the length of the service
_MESSAGE = Struct(">II")  # version and type, length of the method
_VERSION_1 = 0x80010000
_CALL, _REPLY, _EXCEPTION, _ONE_WAY = 1, 2, 3, 4
_KINDS = {_CALL: REQUEST, _ONE_WAY: ONE_WAY, _REPLY: RESPONSE, _EXCEPTION: RESPONSE}
_INTERNAL_ERROR = 6  # TApplicationException


class DubboThriftCodec:
    """See the module. The routing key reaches from the service to the method; ``fields`` says that the identifier is between."""

    name = "dubbo-thrift"
    success = _REPLY
    id_format = Struct(">Q")
    id_mask = 0xFFFFFFFFFFFFFFFF
    routing_names: frozenset[bytes] = frozenset()

    def __init__(self, *, verify_crc: bool = False) -> None:
        del verify_crc  # there are no check sums

    def detect(self, data: bytes) -> bool | None:
        """See RpcCodec: the magic number behind the size."""
        if len(data) < 6:
            return None if MAGIC.to_bytes(2, "big").startswith(data[4:6]) else False
        return data[4] << 8 | data[5] == MAGIC

    def split(self, data: bytes, max_frame_bytes: int) -> Split:
        """See RpcCodec."""
        frames: list[Frame] = []
        position = need = 0
        while len(data) - position >= _HEAD.size:
            size, magic, again, header, _, service = _HEAD.unpack_from(data, position)
            end = position + 4 + size
            identifier_at = position + _HEAD.size + service
            message = identifier_at + 8
            sound = magic == MAGIC and again == size and message + 8 <= end and header == message - position - 4
            if not sound or size + 4 > max_frame_bytes:
                if frames:
                    break
                raise RpcProtocolError("a frame is malformed, or longer than max_frame_bytes")
            if end > len(data):
                need = end - position
                break
            code, method = _MESSAGE.unpack_from(data, message)
            kind = _KINDS.get(code & 0xFF) if code & 0xFFFF0000 == _VERSION_1 else None
            key_end = message + 8 + method
            if kind is None or key_end > end:
                if frames:
                    break
                raise RpcProtocolError("what a frame carries is no message of Thrift's binary protocol")
            identifier = int.from_bytes(data[identifier_at:message], "big")
            status = code & 0xFF if kind == RESPONSE else 0
            frames.append((kind, position, end, identifier, identifier_at, position + 13, key_end, status, 0))
            position = end
        return frames, position, need

    def read(self, data: bytes, frame: Frame) -> RpcRequest:
        """See RpcCodec. There are no headers."""
        return RpcRequest(data[frame[5] + 4 : frame[4]], data[frame[4] + 16 : frame[6]], [])

    def fields(self, key: bytes) -> list[Field] | None:
        """See RpcCodec: the identifier, which no route reads, is told from the rest."""
        start = 4 + int.from_bytes(key[:4], "big")
        return [(b"request-id", start, start + 8)]

    def key_holds(self, names: Collection[bytes]) -> bool:
        """See RpcCodec: there is nothing beside the key."""
        del names
        return True

    def set_id(self, frame: bytes, identifier: int) -> bytes:
        """See RpcCodec."""
        at = _HEAD.size + int.from_bytes(frame[13:17], "big")
        return frame[:at] + identifier.to_bytes(8, "big") + frame[at + 8 :]

    def with_headers(self, frame: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """See RpcCodec: the protocol has no place for any."""
        if headers:
            raise Unreadable("Dubbo's Thrift protocol has no headers")
        return frame

    def heartbeat(self, identifier: int, form: int) -> bytes:
        """See RpcCodec: the protocol has none."""
        del identifier, form
        return b""

    def heartbeat_reply(self, frame: bytes) -> bytes:
        """Never called: there is no heartbeat."""
        del frame
        return b""

    def error(self, identifier: int, form: int, status: int, message: str) -> bytes:
        """See RpcCodec: a TApplicationException; field 1 is the text, field 2 the type."""
        del form
        text = f"{status} {message}".encode()
        fault = (
            b"\x0b\x00\x01" + len(text).to_bytes(4, "big") + text + b"\x08\x00\x02" + _INTERNAL_ERROR.to_bytes(4, "big")
        )
        return frame_of(b"", identifier, _EXCEPTION, b"", fault + b"\x00")

    def goaway(self, form: int) -> bytes:
        """See RpcCodec: the protocol has none."""
        del form
        return b""

    def http_status(self, status: int) -> int:
        """See RpcCodec."""
        return 200 if status == _REPLY else 500


def frame_of(service: bytes, identifier: int, kind: int, method: bytes, content: bytes) -> bytes:
    """A frame with a message of that kind."""
    message = _MESSAGE.pack(_VERSION_1 | kind, len(method)) + method + bytes(4) + content
    header = 13 + len(service) + 8
    size = header + len(message)
    return _HEAD.pack(size, MAGIC, size, header, 1, len(service)) + service + identifier.to_bytes(8, "big") + message
