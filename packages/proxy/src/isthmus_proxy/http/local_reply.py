"""Replies that the proxy gives itself: the one place where a failure becomes a status, a body, flags and details.

Statuses, texts, flags and details are those of a live Envoy 1.40 (they are what users search for).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from isthmus_proxy.codec.http1.serialise import reason_phrase
from isthmus_proxy.errors import ProtocolError
from isthmus_proxy.http.message import Headers

REMOTE_CONNECTION_FAILURE = "remote connection failure"
LOCAL_CONNECTION_FAILURE = "local connection failure"
CONNECTION_TIMEOUT = "connection timeout"
CONNECTION_TERMINATION = "connection termination"
OVERFLOW = "overflow"
PROTOCOL_ERROR = "protocol error"
REMOTE_RESET = "remote reset"
REMOTE_REFUSED = "remote refused stream reset"

CONNECT_FAILURES = frozenset({REMOTE_CONNECTION_FAILURE, LOCAL_CONNECTION_FAILURE, CONNECTION_TIMEOUT})

RESET_FLAGS = {
    REMOTE_CONNECTION_FAILURE: "UF",
    LOCAL_CONNECTION_FAILURE: "UF",
    CONNECTION_TIMEOUT: "UF",
    CONNECTION_TERMINATION: "UC",
    OVERFLOW: "UO",
    PROTOCOL_ERROR: "UPE",
    REMOTE_RESET: "UR",
    REMOTE_REFUSED: "UR",
}
"""Response flag of each way in which an upstream request is lost."""


@dataclass(frozen=True, slots=True)
class LocalReply:
    """A reply without an upstream. ``close`` ends the connection after it; ``headers`` come after the content headers.

    ``grpc_status`` is what a gRPC client is told where the HTTP status does not say it.
    """

    status: int
    details: str
    body: bytes = b""
    flags: tuple[str, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False
    grpc_status: int | None = None
    content_type: bytes = b""


ROUTE_NOT_FOUND = LocalReply(404, "route_not_found", flags=("NR",))
NO_HEALTHY_UPSTREAM = LocalReply(503, "no_healthy_upstream", b"no healthy upstream", ("UH",))
ROUTE_TIMEOUT = LocalReply(504, "response_timeout", b"upstream request timeout", ("UT",))
ALTERNATIVE_TIMEOUT = replace(ROUTE_TIMEOUT, status=204, body=b"")
"""The same where an internal client prefers it (x-envoy-upstream-rq-timeout-alt-response)."""
PER_TRY_TIMEOUT = LocalReply(504, "upstream_per_try_timeout", b"upstream request timeout", ("UT",))
PER_TRY_IDLE_TIMEOUT = LocalReply(504, "upstream_per_try_idle_timeout", b"upstream request timeout", ("UT",))
MAX_DURATION = LocalReply(504, "max_duration_timeout", b"downstream duration timeout", grpc_status=4)
MAX_DURATION_INCOMPLETE = replace(MAX_DURATION, status=408, close=True)
STREAM_IDLE = LocalReply(504, "stream_idle_timeout", b"stream timeout", ("SI",))
STREAM_IDLE_INCOMPLETE = LocalReply(408, "stream_idle_timeout", b"stream timeout", ("SI",), close=True)
REQUEST_TIMEOUT = LocalReply(408, "request_overall_timeout", b"request timeout", close=True)
REQUEST_HEADER_TIMEOUT = LocalReply(408, "request_header_timeout", b"request header timeout", close=True)
OVERLOADED = LocalReply(503, "overload", b"envoy overloaded", close=True)
UPGRADE_FAILED = LocalReply(403, "upgrade_failed", close=True)
CONNECT_NOT_ROUTED = replace(ROUTE_NOT_FOUND, close=True)
ABSOLUTE_PATH_REJECTED = LocalReply(404, "absolute_path_rejected")
RETRY_BUFFER_EXCEEDED = LocalReply(
    507, "request_payload_exceeded_retry_buffer_limit", b"exceeded request buffer limit while retrying upstream"
)


def cluster_not_found(status: int) -> LocalReply:
    """The route names a cluster that does not exist; ``status`` is the route's cluster_not_found_response_code."""
    return LocalReply(status, "cluster_not_found", flags=("NC",))


def upstream_reset(reason: str, transport: str, *, retried: bool) -> LocalReply:
    """The upstream request was lost for ``reason`` before its response began. ``transport`` is the socket's failure."""
    told = "retried and the latest reset reason: " if retried else "reset reason: "
    body = f"upstream connect error or disconnect/reset before headers. {told}{reason}"
    status = 502 if reason == PROTOCOL_ERROR else 503
    headers = ((b"x-envoy-overloaded", b"true"),) if reason == OVERFLOW else ()
    details = f"upstream_reset_before_response_started{{{reset_details(reason, transport)}}}"
    return LocalReply(status, details, body.encode(), (RESET_FLAGS[reason],), headers)


def reset_details(reason: str, transport: str) -> str:
    """A reset as response code details spell it: without spaces, with the transport's failure after a bar."""
    words = f"{reason}|{transport}" if transport else reason
    return words.replace(" ", "_")


def codec_error(error: ProtocolError) -> LocalReply:
    """The client broke HTTP/1; the connection cannot be used further."""
    return LocalReply(error.status, error.detail, reason_phrase(error.status).encode(), ("DPE",), close=True)


_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""gRPC's mapping from HTTP statuses; all others are UNKNOWN (2)."""


def grpc_status(status: int) -> int:
    """The gRPC status that stands for an HTTP status."""
    return _GRPC_STATUS.get(status, 2)


def is_grpc(content_type: bytes | None) -> bool:
    """Whether a request's content type asks for a gRPC reply."""
    return content_type is not None and (
        content_type == b"application/grpc" or content_type.startswith((b"application/grpc+", b"application/grpc;"))
    )


def headers_of(
    reply: LocalReply,
    *,
    grpc: bool,
    edit: Callable[[Headers], None] | None = None,
    content_type: bytes = b"text/plain",
) -> tuple[int, Headers, bytes]:
    """(status, headers, body) as sent, before ``date`` and ``server``. A gRPC client gets trailers-only with HTTP 200.

    ``edit`` changes the reply's own headers; those of its content come behind them, and respect a content type.
    """
    if grpc:
        code = grpc_status(reply.status) if reply.grpc_status is None else reply.grpc_status
        headers = [(b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % code)]
        if reply.body:
            headers.append((b"grpc-message", percent_encoded(reply.body)))
        own = [*reply.headers]
        if edit is not None:
            edit(own)
        return 200, [*own, *headers], b""
    headers = [*reply.headers]
    if edit is not None:
        edit(headers)
    if reply.body:
        headers += _content(reply, content_type, typed=any(name == b"content-type" for name, _ in headers))
    return reply.status, headers, reply.body


def _content(reply: LocalReply, content_type: bytes, *, typed: bool) -> Headers:
    """Length and type of the body; ``typed`` if the reply has a type already. One of the reply's own comes first, as in Envoy."""
    length = (b"content-length", b"%d" % len(reply.body))
    if typed:
        return [length]
    if reply.content_type:
        return [(b"content-type", reply.content_type), length]
    return [length, (b"content-type", content_type)]


def percent_encoded(message: bytes) -> bytes:
    """gRPC's encoding of ``grpc-message``: bytes outside printable ASCII, and the per cent sign, as %XX."""
    return b"".join(bytes([b]) if 0x20 <= b <= 0x7E and b != 0x25 else b"%%%02X" % b for b in message)
