"""How calls end: gRPC's status codes, and what of HTTP and HTTP/2 means which (gRPC over HTTP/2, "Responses")."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from isthmus_proxy.codec.http2.static_table import Field

(
    OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED,
    FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED,
) = range(17)  # fmt: skip

STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip

_HTTP_STATUS = {
    400: INTERNAL, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 404: UNIMPLEMENTED, 429: UNAVAILABLE, 502: UNAVAILABLE,
    503: UNAVAILABLE, 504: UNAVAILABLE,
}  # fmt: skip
"""gRPC's http-grpc-status-mapping."""

Metadata = tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: ``status`` (0 is success), what the server or this client says about it, and the trailing metadata."""

    status: int
    message: str = ""
    metadata: Metadata = ()

    def __str__(self) -> str:
        name = STATUS_NAMES[self.status] if self.status < len(STATUS_NAMES) else str(self.status)
        return f"{name}: {self.message}"


class GrpcError(Exception):
    """A call that ended or cannot go on. ``status`` is the gRPC status code, ``message`` says what happened."""

    def __init__(self, status: int, message: str, metadata: Metadata = ()) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.metadata = metadata

    def __str__(self) -> str:
        return str(Outcome(self.status, self.message))


def status_of_http(status: int) -> int:
    """The status of an answer that is not gRPC's."""
    return _HTTP_STATUS.get(status, UNKNOWN)


def outcome_of(fields: Metadata) -> Outcome:
    """The outcome that trailers name."""
    status, message = b"", b""
    for name, value in fields:
        if name == b"grpc-status":
            status = value
        elif name == b"grpc-message":
            message = value
    if not status.isdigit() or len(status) > 3:
        return Outcome(UNKNOWN, "the server ended the call without a status", fields)
    text = unquote(message.decode("latin-1"), errors="replace")
    return Outcome(int(status), text or "the server ended the call", fields)


def refusal(status: int, fields: Metadata) -> Outcome | None:
    """The outcome that a response head alone tells: a trailers-only answer, or one that is not gRPC's. None if the call goes on."""
    content_type = b""
    for name, value in fields:
        if name == b"grpc-status":
            return outcome_of(fields)
        if name == b"content-type":
            content_type = value
    if status != 200:
        text = f"the server answered with HTTP status {status}; is it a gRPC server?"
        return Outcome(status_of_http(status), text, fields)
    if not content_type.startswith(b"application/grpc"):
        shown = content_type[:64].decode("latin-1")
        return Outcome(UNKNOWN, f"the server answered with content type {shown!r}; is it a gRPC server?", fields)
    return None


def timeout_header(seconds: float) -> bytes:
    """``grpc-timeout``: at most eight digits and a unit, rounded up so that a wait is never shorter than asked for."""
    for unit, factor in ((b"n", 1e9), (b"u", 1e6), (b"m", 1e3), (b"S", 1.0)):
        amount = -int(-seconds * factor // 1)
        if amount < 100_000_000:
            return b"%d%b" % (max(amount, 1), unit)
    return b"99999999H"
