"""What an answer to a health check says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from isthmus_proxy.cluster.health.model import HttpCheck, Statuses

Fields = Iterable[tuple[bytes, bytes]]
_SERVING = 1


class Verdict(Enum):
    """PASSED and DEGRADED succeed; RETRIABLE fails, and counts towards the threshold; FAILED is enough alone."""

    PASSED = 0
    DEGRADED = 1
    RETRIABLE = 2
    FAILED = 3


def judge_http(check: HttpCheck, status: int, headers: Fields, body: bytes) -> Verdict:
    """What a response with the first ``body`` bytes says."""
    if not _within(check.expected, status):
        return Verdict.RETRIABLE if _within(check.retriable, status) else Verdict.FAILED
    if check.receive and not found_in_order(check.receive, body):
        return Verdict.FAILED
    degraded = any(name == b"x-envoy-degraded" for name, _ in headers)
    return Verdict.DEGRADED if degraded else Verdict.PASSED


def _within(statuses: Statuses, status: int) -> bool:
    return any(start <= status < end for start, end in statuses)


def found_in_order(pieces: Iterable[bytes], data: bytes) -> bool:
    """Whether all ``pieces`` are in ``data``, each behind the one before; what else there is does not matter."""
    position = 0
    for piece in pieces:
        position = data.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    return True


def judge_grpc(status: int, headers: Fields, body: bytes, trailers: Fields) -> Verdict:
    """What the answer of grpc.health.v1.Health/Check says: only SERVING passes."""
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    code = next((value for name, value in [*trailers, *headers] if name == b"grpc-status"), b"")
    if status != 200 or not content_type.startswith(b"application/grpc") or code != b"0":
        return Verdict.FAILED
    return Verdict.PASSED if _serving_status(body) == _SERVING else Verdict.FAILED


def _serving_status(body: bytes) -> int | None:
    """Field 1 of the one HealthCheckResponse in ``body``, which is framed by its length; None if it is malformed."""
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(body) - 5:
        return None
    message = body[5:]
    if not message:
        return 0
    return message[1] if len(message) == 2 and message[0] == 0x08 and message[1] < 0x80 else None


def grpc_request(service: str) -> bytes:
    """A framed grpc.health.v1.HealthCheckRequest."""
    name = service.encode()
    message = b"" if not name else b"\x0a" + _varint(len(name)) + name
    return b"\0" + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
