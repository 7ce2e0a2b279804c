"""How long a stream may last by its route: max_stream_duration, or what a gRPC client asks for within limits. Pure."""

from __future__ import annotations

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import ForwardAction

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_DIGITS = 8  # gRPC over HTTP/2: TimeoutValue is at most eight digits


def grpc_timeout(value: bytes | None) -> float | None:
    """``grpc-timeout`` in seconds; None if it is not there or malformed."""
    if not value or value[-1:] not in _UNITS or not value[:-1].isdigit() or len(value) > _MAX_DIGITS + 1:
        return None
    return int(value[:-1]) * _UNITS[value[-1:]]


def stream_duration(action: ForwardAction, head: RequestHead) -> float:
    """Seconds that the stream of ``head`` may last; 0 if there is no limit."""
    limit = action.max_grpc_timeout
    asked = grpc_timeout(head.get(b"grpc-timeout")) if limit is not None else None
    if limit is None or asked is None:
        return action.max_stream_duration or 0.0
    allowed = min(asked, limit) if limit else asked
    offset = action.grpc_timeout_offset
    return allowed - offset if offset < allowed else allowed


def grpc_timeout_value(seconds: float) -> bytes:
    """``seconds`` as ``grpc-timeout`` says it, in the finest unit of milliseconds and above that fits."""
    for unit, size in ((b"m", 0.001), (b"S", 1.0), (b"M", 60.0)):
        number = int(seconds / size + 1e-6)
        if number < 10**_MAX_DIGITS:
            return b"%d%b" % (number, unit)
    return b"%dH" % min(int(seconds / 3600), 10**_MAX_DIGITS - 1)
