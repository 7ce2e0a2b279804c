"""Bolt frames as an SDK makes them, for tests: written apart from the codec, from the layout alone."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

CLASS = b"com.alipay.sofa.rpc.core.request.SofaRequest"
ANSWER_CLASS = b"com.alipay.sofa.rpc.core.response.SofaResponse"
Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class BoltVersion:
    """Protocol code, and in v2 the version of the protocol and its switches."""

    protocol: int
    version: int = 1
    switches: int = 0


V1 = BoltVersion(1)


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def _frame(
    version: BoltVersion,
    type_: int,
    command: int,
    identifier: int,
    codec: int,
    extra: bytes,
    parts: tuple[bytes, bytes, bytes],
) -> bytes:
    name, header, content = parts
    frame = bytes([version.protocol])
    if version.protocol == 2:
        frame += bytes([version.version])
    frame += bytes([type_]) + _number(command, 2) + b"\1" + _number(identifier, 4) + bytes([codec])
    if version.protocol == 2:
        frame += bytes([version.switches])
    frame += extra + _number(len(name), 2) + _number(len(header), 2) + _number(len(content), 4)
    frame += name + header + content
    if version.protocol == 2 and version.version == 2 and version.switches & 1:
        frame += _number(crc32(frame), 4)
    return frame


def request(
    identifier: int,
    header: Pairs,
    body: bytes = b"",
    *,
    version: BoltVersion = V1,
    timeout: int = 3000,
    one_way: bool = False,
    codec: int = 1,
) -> bytes:
    """A request of SOFARPC."""
    block = b"".join(_number(len(text), 4) + text for pair in header for text in pair)
    kind = 2 if one_way else 1
    return _frame(version, kind, 1, identifier, codec, _number(timeout, 4), (CLASS, block, body))


def response(
    identifier: int, body: bytes = b"", *, version: BoltVersion = V1, status: int = 0, codec: int = 1
) -> bytes:
    """A response of SOFARPC."""
    return _frame(version, 0, 2, identifier, codec, _number(status, 2), (ANSWER_CLASS, b"", body))
