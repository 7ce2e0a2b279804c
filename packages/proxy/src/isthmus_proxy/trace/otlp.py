"""Spans as ExportTraceServiceRequest (opentelemetry-proto, collector/trace/v1), written field by field.

The messages are few and flat: writing them costs less memory than the classes that protobuf would make of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus_proxy import __version__
from isthmus_proxy.trace.span import FinishedSpan

_SERVER = 2  # Span.SpanKind
_ERROR = 2  # Status.StatusCode


def export_request(spans: Iterable[FinishedSpan], service_name: str) -> bytes:
    """The message that reports ``spans`` of the service."""
    resource = b"".join(
        _bytes(1, _attribute(key, value))
        for key, value in (
            ("telemetry.sdk.language", "python"),
            ("service.name", service_name),
            ("telemetry.sdk.version", __version__),
            ("telemetry.sdk.name", "isthmus-proxy"),
        )
    )
    scope = _text(1, "isthmus-proxy") + _text(2, __version__)
    scoped = _bytes(1, scope) + b"".join(_bytes(2, span(each)) for each in spans)
    return _bytes(1, _bytes(1, resource) + _bytes(2, scoped))


def span(finished: FinishedSpan) -> bytes:
    """trace.v1.Span."""
    context = finished.context
    parts = [
        _bytes(1, bytes.fromhex(context.trace_id.decode())),
        _bytes(2, bytes.fromhex(context.span_id.decode())),
        _bytes(3, context.state) if context.state else b"",
        _bytes(4, bytes.fromhex(context.parent_id.decode())) if context.parent_id else b"",
        _text(5, finished.name),
        _number(6, _SERVER),
        _fixed64(7, int(finished.started * 1e9)),
        _fixed64(8, int(finished.ended * 1e9)),
        *(_bytes(9, _attribute(key, value)) for key, value in finished.tags),
        _bytes(15, _number(3, _ERROR)) if finished.error else b"",
    ]
    return b"".join(parts)


def _attribute(key: str, value: str) -> bytes:
    """common.v1.KeyValue with a string."""
    return _text(1, key) + _bytes(2, _text(1, value))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace"))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _fixed64(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + value.to_bytes(8, "little")
