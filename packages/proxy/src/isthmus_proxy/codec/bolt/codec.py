"""Frames of Bolt v1 and v2, which may alternate on a connection (sofa-bolt's RpcProtocol and RpcProtocolV2).

All integers are big-endian. A request has a head of 22 bytes in v1 and 24 in v2, a response two less; class name, header and
content follow. In v2 four bytes of CRC-32 end the frame if its first version byte is 2 and the lowest bit of its switches is
set. The header is the routing key, or the class name where there is no header.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct
from typing import Final
from zlib import crc32

from isthmus_proxy.codec.bolt import simple_map, status
from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    ONE_WAY,
    REQUEST,
    RESPONSE,
    SEALED,
    Field,
    Frame,
    RpcProtocolError,
    RpcRequest,
    Split,
    Unreadable,
)

V1: Final = 1
V2: Final = 2
CRC_BYTES: Final = 4
CRC_VERSION: Final = 2
_CRC_SWITCH: Final = 1

# First the bytes protocol, type and command code as one number; then version, identifier, codec, time-out or status, lengths.
_REQUEST_V1: Final = Struct(">IBIBiHHI")
_RESPONSE_V1: Final = Struct(">IBIBHHHI")
# In v2 the version of the protocol comes second and switches come after the codec.
_REQUEST_V2: Final = Struct(">BBBHBIBBiHHI")
_RESPONSE_V2: Final = Struct(">BBBHBIBBHHHI")

_TYPE_RESPONSE: Final = 0
_TYPE_REQUEST: Final = 1
_TYPE_ONE_WAY: Final = 2
_COMMAND_HEARTBEAT: Final = 0
_COMMAND_REQUEST: Final = 1
_COMMAND_RESPONSE: Final = 2
_COMMAND_GOAWAY: Final = 100  # MOSN's: sofa-bolt has no such command

_KIND: Final = {
    (_TYPE_REQUEST, _COMMAND_REQUEST): REQUEST,
    (_TYPE_ONE_WAY, _COMMAND_REQUEST): ONE_WAY,
    (_TYPE_RESPONSE, _COMMAND_RESPONSE): RESPONSE,
    (_TYPE_REQUEST, _COMMAND_HEARTBEAT): HEARTBEAT,
    (_TYPE_RESPONSE, _COMMAND_HEARTBEAT): HEARTBEAT_REPLY,
    (_TYPE_REQUEST, _COMMAND_GOAWAY): GOAWAY,
    (_TYPE_ONE_WAY, _COMMAND_GOAWAY): GOAWAY,
}
_KIND_V1: Final = {V1 << 24 | kind << 16 | command: meaning for (kind, command), meaning in _KIND.items()}

_FORM_V2: Final = 0x1000000  # form: this, version of the protocol, switches, codec; in v1 the codec alone
_HESSIAN2: Final = 1

SERVICE: Final = b"service"
SERVICE_ALIAS: Final = b"sofa_head_target_service"
METHOD: Final = b"sofa_head_method_name"


class BoltCodec:
    """See the module. ``verify_crc``: frames whose check sum is wrong end the connection."""

    name = "bolt"
    success = status.SUCCESS
    id_format = Struct(">I")
    id_mask = 0xFFFFFFFF
    routing_names = frozenset((SERVICE, SERVICE_ALIAS, METHOD))

    def __init__(self, *, verify_crc: bool = False) -> None:
        self._verify_crc = verify_crc

    def detect(self, data: bytes) -> bool | None:
        """See RpcCodec: a version and a type of frame that exist, in the first bytes."""
        if not data:
            return None
        if data[0] == V1:
            return None if len(data) < 2 else data[1] <= _TYPE_ONE_WAY
        if data[0] == V2:
            return None if len(data) < 3 else data[1] in (1, 2) and data[2] <= _TYPE_ONE_WAY
        return False

    def split(self, data: bytes, max_frame_bytes: int) -> Split:
        """See RpcCodec."""
        frames: list[Frame] = []
        append = frames.append
        position, size, need = 0, len(data), 0
        while size - position >= 20:
            if data[position] != V1:
                frame, need = self._split_v2(data, position, max_frame_bytes, frames)
                if frame is None:
                    break
                append(frame)
                position = frame[2]
                continue
            if data[position + 1]:
                if size - position < 22:
                    break
                first, _, identifier, form, extra, classes, headers, content = _REQUEST_V1.unpack_from(data, position)
                key = position + 22 + classes
            else:
                first, _, identifier, form, extra, classes, headers, content = _RESPONSE_V1.unpack_from(data, position)
                key = position + 20 + classes
            key_end = key + headers
            end = key_end + content
            if not headers:
                key -= classes
            kind = _KIND_V1.get(first)
            if kind is None or end - position > max_frame_bytes:
                if frames:
                    break
                raise _refused(kind, end - position, max_frame_bytes, identifier, form)
            if end > size:
                need = end - position
                break
            append((kind, position, end, identifier, position + 5, key, key_end, extra, form))
            position = end
        return frames, position, need

    def _split_v2(
        self, data: bytes, position: int, max_frame_bytes: int, before: list[Frame]
    ) -> tuple[Frame | None, int]:
        """(the frame at ``position`` or None, the bytes that it has in all or 0)."""
        if data[position] != V2:
            if before:
                return None, 0
            raise RpcProtocolError(f"first byte {data[position]:#04x} is no version of Bolt")
        request = data[position + 2] != _TYPE_RESPONSE
        layout = _REQUEST_V2 if request else _RESPONSE_V2
        if len(data) - position < layout.size:
            return None, 0
        _, version, type_, command, _, identifier, codec, switches, extra, classes, headers, content = (
            layout.unpack_from(data, position)
        )
        form = _FORM_V2 | version << 16 | switches << 8 | codec
        sealed = version == CRC_VERSION and bool(switches & _CRC_SWITCH)
        key = position + layout.size + classes
        key_end = key + headers
        end = key_end + content + (CRC_BYTES if sealed else 0)
        if not headers:
            key -= classes
        kind = _KIND.get((type_, command))
        wrong = kind is None or end - position > max_frame_bytes
        if not wrong and end > len(data):
            return None, end - position
        if not wrong and sealed and self._verify_crc:
            wrong = crc32(data[position : end - CRC_BYTES]) != int.from_bytes(data[end - CRC_BYTES : end], "big")
        if kind is None or wrong:
            if before:
                return None, 0
            raise _refused(kind, end - position, max_frame_bytes, identifier, form)
        return (
            kind | SEALED if sealed else kind, position, end, identifier, position + 6, key, key_end, extra, form,
        ), 0  # fmt: skip

    def read(self, data: bytes, frame: Frame) -> RpcRequest:
        """See RpcCodec. A class name alone is the service."""
        key = data[frame[5] : frame[6]]
        if key and key[0]:  # no header has a string as long as that would say
            return RpcRequest(key, b"", [])
        pairs = simple_map.read(key)
        service = method = alias = b""
        for name, value in pairs:
            if name == SERVICE:
                service = value
            elif name == METHOD:
                method = value
            elif name == SERVICE_ALIAS:
                alias = value
        return RpcRequest(service or alias, method, pairs)

    def fields(self, key: bytes) -> list[Field] | None:
        """See RpcCodec."""
        try:
            return simple_map.fields(key)
        except Unreadable:
            return None

    def key_holds(self, names: Collection[bytes]) -> bool:
        """See RpcCodec: the header is all there is."""
        del names
        return True

    def set_id(self, frame: bytes, identifier: int) -> bytes:
        """See RpcCodec."""
        at = 5 if frame[0] == V1 else 6
        changed = frame[:at] + identifier.to_bytes(4, "big") + frame[at + 4 :]
        return _seal(changed[:-CRC_BYTES]) if _is_sealed(frame) else changed

    def with_headers(self, frame: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """See RpcCodec."""
        block = simple_map.write(headers)
        if len(block) > 0x7FFF:  # sofa-bolt reads the length as a signed number
            raise Unreadable(f"{len(block)} bytes of header are more than a Bolt frame can carry")
        head = 22 if frame[0] == V1 else 24
        lengths = head - 8
        classes = int.from_bytes(frame[lengths : lengths + 2], "big")
        old = int.from_bytes(frame[lengths + 2 : lengths + 4], "big")
        before, after = head + classes, head + classes + old
        sealed = _is_sealed(frame)
        rest = frame[after:-CRC_BYTES] if sealed else frame[after:]
        length = len(block).to_bytes(2, "big")
        changed = frame[: lengths + 2] + length + frame[lengths + 4 : before] + block + rest
        return _seal(changed) if sealed else changed

    def heartbeat(self, identifier: int, form: int) -> bytes:
        """See RpcCodec."""
        return _bare_request(_COMMAND_HEARTBEAT, identifier, form)

    def heartbeat_reply(self, frame: bytes) -> bytes:
        """See RpcCodec."""
        at = 5 if frame[0] == V1 else 6
        identifier = int.from_bytes(frame[at : at + 4], "big")
        form = frame[9] if frame[0] == V1 else _FORM_V2 | frame[1] << 16 | frame[11] << 8 | frame[10]
        return _bare_response(_COMMAND_HEARTBEAT, identifier, form, status.SUCCESS)

    def error(self, identifier: int, form: int, status: int, message: str) -> bytes:
        """See RpcCodec. The status says all: content would have to be serialised the way the client expects."""
        del message
        return _bare_response(_COMMAND_RESPONSE, identifier, form, _from_http(status))

    def goaway(self, form: int) -> bytes:
        """See RpcCodec."""
        return _bare_request(_COMMAND_GOAWAY, 0, form)

    def http_status(self, status: int) -> int:
        """See RpcCodec."""
        return _to_http(status)


_from_http = status.from_http
_to_http = status.to_http


def _refused(kind: int | None, size: int, limit: int, identifier: int, form: int) -> RpcProtocolError:
    if kind is None:
        return RpcProtocolError("type and command code are none of Bolt's")
    if size > limit:
        known = identifier if kind in (REQUEST, HEARTBEAT) else None
        return RpcProtocolError(f"a frame of {size} bytes is more than max_frame_bytes ({limit})", known, form)
    return RpcProtocolError("the check sum of a frame is wrong")


def _is_sealed(frame: bytes) -> bool:
    return frame[0] == V2 and frame[1] == CRC_VERSION and bool(frame[11] & _CRC_SWITCH)


def _seal(frame: bytes) -> bytes:
    return frame + crc32(frame).to_bytes(CRC_BYTES, "big")


def _bare_request(command: int, identifier: int, form: int) -> bytes:
    """A request without class name, header and content; it waits for no answer longer than the peer likes."""
    if not form & _FORM_V2:
        codec = form or _HESSIAN2
        return _REQUEST_V1.pack(V1 << 24 | _TYPE_REQUEST << 16 | command, 1, identifier, codec, -1, 0, 0, 0)
    version, switches, codec = form >> 16 & 0xFF, form >> 8 & 0xFF, form & 0xFF
    frame = _REQUEST_V2.pack(V2, version, _TYPE_REQUEST, command, 1, identifier, codec, switches, -1, 0, 0, 0)
    return _seal(frame) if _is_sealed(frame) else frame


def _bare_response(command: int, identifier: int, form: int, outcome: int) -> bytes:
    if not form & _FORM_V2:
        return _RESPONSE_V1.pack(V1 << 24 | command, 1, identifier, form, outcome, 0, 0, 0)
    version, switches, codec = form >> 16 & 0xFF, form >> 8 & 0xFF, form & 0xFF
    frame = _RESPONSE_V2.pack(V2, version, _TYPE_RESPONSE, command, 1, identifier, codec, switches, outcome, 0, 0, 0)
    return _seal(frame) if _is_sealed(frame) else frame
