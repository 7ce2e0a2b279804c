"""Frames of Dubbo 2 (Dubbo's ExchangeCodec): magic, flags, status, identifier of 64 bits, length of the body.

Requests serialised with hessian2 are read: Dubbo's version, path (the interface), version of the service, method, types of the
parameters, then the arguments and a map of attachments. The strings before the arguments are the routing key. Of any other
serialisation nothing is read: such requests have neither service nor method nor headers, and their key is the byte of flags.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct
from typing import Final

from isthmus_proxy.codec.dubbo import hessian2
from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
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

MAGIC: Final = 0xDABB
HEAD: Final = Struct(">HBBQI")
FLAG_REQUEST: Final = 0x80
FLAG_TWO_WAY: Final = 0x40
FLAG_EVENT: Final = 0x20
SERIALIZATION: Final = 0x1F
HESSIAN2: Final = 2
FASTJSON: Final = 6

OK: Final = 20
CLIENT_TIMEOUT: Final = 30
SERVER_TIMEOUT: Final = 31
CHANNEL_INACTIVE: Final = 35
BAD_REQUEST: Final = 40
SERVICE_NOT_FOUND: Final = 60
SERVICE_ERROR: Final = 70
SERVER_ERROR: Final = 80
THREADPOOL_EXHAUSTED: Final = 100

_HTTP: Final = {
    OK: 200,
    CLIENT_TIMEOUT: 504,
    SERVER_TIMEOUT: 504,
    CHANNEL_INACTIVE: 502,
    BAD_REQUEST: 400,
    SERVICE_NOT_FOUND: 404,
    THREADPOOL_EXHAUSTED: 503,
}
_DUBBO: Final = {
    200: OK,
    400: BAD_REQUEST,
    403: SERVICE_ERROR,
    404: SERVICE_NOT_FOUND,
    422: BAD_REQUEST,
    429: THREADPOOL_EXHAUSTED,
    502: CHANNEL_INACTIVE,
    503: SERVICE_NOT_FOUND,
    504: SERVER_TIMEOUT,
    529: THREADPOOL_EXHAUSTED,
}

_NULL: Final = b"N"
_READONLY: Final = b"\x01R"  # a string of one character
_STRINGS: Final = 5  # before the arguments
DUBBO_VERSION: Final = b"dubbo"
VERSION: Final = b"version"


class DubboCodec:
    """See the module. ``verify_crc`` means nothing: Dubbo has no check sums."""

    name = "dubbo"
    success = OK
    id_format = Struct(">Q")
    id_mask = 0xFFFFFFFFFFFFFFFF
    routing_names: frozenset[bytes] = frozenset()

    def __init__(self, *, verify_crc: bool = False) -> None:
        del verify_crc

    def detect(self, data: bytes) -> bool | None:
        """See RpcCodec: the magic number."""
        if len(data) < 2:
            return None if not data or data[0] == MAGIC >> 8 else False
        return data[0] << 8 | data[1] == MAGIC

    def split(self, data: bytes, max_frame_bytes: int) -> Split:
        """See RpcCodec."""
        frames: list[Frame] = []
        append, unpack = frames.append, HEAD.unpack_from
        position, size, need = 0, len(data), 0
        while size - position >= 16:
            magic, flag, status, identifier, length = unpack(data, position)
            body = position + 16
            end = body + length
            if magic != MAGIC or length + 16 > max_frame_bytes:
                if frames:
                    break
                raise _refused(magic, flag, identifier, length, max_frame_bytes)
            if end > size:
                need = end - position
                break
            serialization = flag & SERIALIZATION
            key, key_end = position + 2, position + 3  # the flags alone
            if flag & FLAG_EVENT:
                kind = _event(data, flag, body, end)
            elif flag & FLAG_REQUEST:
                kind = REQUEST if flag & FLAG_TWO_WAY else ONE_WAY
                status = 0
                if serialization == HESSIAN2:
                    key, key_end = _key(data, position, end)
            else:
                kind = RESPONSE
            append((kind, position, end, identifier, position + 4, key, key_end, status, serialization))
            position = end
        return frames, position, need

    def read(self, data: bytes, frame: Frame) -> RpcRequest:
        """See RpcCodec. The interface is the service; versions come first among the headers, unless attachments name them."""
        if frame[8] != HESSIAN2:
            return RpcRequest(b"", b"", [])
        reader = hessian2.Reader(data, frame[1] + 16, frame[2])
        dubbo, path, version, method = [reader.string() or b"" for _ in range(_STRINGS - 1)]
        types = reader.string() or b""
        headers = [(DUBBO_VERSION, dubbo), (VERSION, version)]
        for _ in range(_parameters(types)):
            reader.skip()
        if reader.position < frame[2]:
            attachments = reader.strings()
            names = {name for name, _ in attachments}
            headers = [*(field for field in headers if field[0] not in names), *attachments]
        return RpcRequest(path, method, headers)

    def fields(self, key: bytes) -> list[Field] | None:
        """See RpcCodec: the whole key counts."""
        del key
        return None

    def key_holds(self, names: Collection[bytes]) -> bool:
        """See RpcCodec: the key ends before the attachments."""
        return not names

    def set_id(self, frame: bytes, identifier: int) -> bytes:
        """See RpcCodec."""
        return frame[:4] + identifier.to_bytes(8, "big") + frame[12:]

    def with_headers(self, frame: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """See RpcCodec: other attachments. Those that are no strings cannot be written anew."""
        if frame[2] & SERIALIZATION != HESSIAN2:
            raise Unreadable("attachments of other serialisations than hessian2 cannot be changed")
        reader = hessian2.Reader(frame, 16, len(frame))
        for _ in range(_STRINGS - 1):
            reader.string()
        for _ in range(_parameters(reader.string() or b"")):
            reader.skip()
        start = reader.position
        before = {name for name, _ in reader.strings()} if start < len(frame) else set()
        if reader.position != len(frame):
            raise Unreadable("something follows the attachments")
        written = [pair for pair in headers if pair[0] in before or pair[0] not in (DUBBO_VERSION, VERSION)]
        body = frame[16:start] + hessian2.write_map(written)
        return frame[:12] + len(body).to_bytes(4, "big") + body

    def heartbeat(self, identifier: int, form: int) -> bytes:
        """See RpcCodec."""
        del form  # null is the same to whoever reads hessian2, and Dubbo's default
        flags = FLAG_REQUEST | FLAG_TWO_WAY | FLAG_EVENT | HESSIAN2
        return HEAD.pack(MAGIC, flags, 0, identifier, 1) + _NULL

    def heartbeat_reply(self, frame: bytes) -> bytes:
        """See RpcCodec: the event comes back as it was, whatever null looks like in its serialisation."""
        flags = FLAG_EVENT | frame[2] & SERIALIZATION
        return frame[:2] + bytes([flags, OK]) + frame[4:]

    def error(self, identifier: int, form: int, status: int, message: str) -> bytes:
        """See RpcCodec. The body is the text, as hessian2 or as JSON."""
        text = message.encode()
        body = b'"%b"\n' % text if form == FASTJSON else hessian2.write_string(text)
        return HEAD.pack(MAGIC, form, _DUBBO.get(status, SERVICE_ERROR), identifier, len(body)) + body

    def goaway(self, form: int) -> bytes:
        """See RpcCodec: the event READONLY, after which Dubbo's clients choose other providers."""
        del form
        return HEAD.pack(MAGIC, FLAG_REQUEST | FLAG_EVENT | HESSIAN2, 0, 0, len(_READONLY)) + _READONLY

    def http_status(self, status: int) -> int:
        """See RpcCodec."""
        return _HTTP.get(status, 500)


def _event(data: bytes, flag: int, body: int, end: int) -> int:
    """READONLY asks to go away; everything else that is an event is answered, or is an answer."""
    if not flag & FLAG_REQUEST:
        return HEARTBEAT_REPLY
    if data[body:end] == _READONLY:
        return GOAWAY
    return HEARTBEAT if flag & FLAG_TWO_WAY else HEARTBEAT_REPLY


def _key(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the strings before the arguments are; the whole frame if they are not short and ASCII, as they nearly always are.

    The first byte tells either from the other, and both from the flags that are the key of other serialisations.
    """
    position = start + 16
    for _ in range(_STRINGS):
        position = hessian2.string_end(data, position, end)
        if position < 0:
            return start, end
    return start + 16, position


def _parameters(types: bytes) -> int:
    """How many parameters a descriptor has (JVM specification, 4.3.2): ``Ljava/lang/String;[I`` has two."""
    count, position = 0, 0
    while position < len(types):
        code = types[position]
        if code == ord("L"):
            end = types.find(b";", position)
            if end < 0:
                raise Unreadable("the types of the parameters cannot be told apart")
            position = end
        if code != ord("["):
            count += 1
        position += 1
    return count


def _refused(magic: int, flag: int, identifier: int, length: int, limit: int) -> RpcProtocolError:
    if magic != MAGIC:
        return RpcProtocolError(f"first bytes {magic:#06x} are not Dubbo's")
    request = flag & FLAG_REQUEST and flag & FLAG_TWO_WAY
    text = f"a frame of {length + 16} bytes is more than max_frame_bytes ({limit})"
    return RpcProtocolError(text, identifier if request else None, flag & SERIALIZATION)
