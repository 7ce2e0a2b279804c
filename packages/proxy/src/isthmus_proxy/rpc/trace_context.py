"""Trace contexts of SOFARPC: the headers ``rpc_trace_context.*``, beside those that tracers know themselves. Pure.

SOFA's identifiers are text of its own: a trace identifier of some thirty digits, and a path such as ``0.1.2`` for the span. So that
all proxies on a request's way see the same trace, what collectors are told is worked out from them and nothing else.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo, TraceSpan
from isthmus_proxy.route.model import Route
from isthmus_proxy.trace.context import SpanContext
from isthmus_proxy.trace.span import Span

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Tracer

TRACE_ID = b"rpc_trace_context.sofaTraceId"
RPC_ID = b"rpc_trace_context.sofaRpcId"
_ROOT = b"0"
_OF_SOFA = frozenset({"bolt"})
_OWN_CONTEXT = (b"traceparent", b"b3", b"x-b3-traceid")
_HEX = re.compile(rb"[0-9a-fA-F]{1,32}")


def sofa_parent(head: RequestHead) -> SpanContext | None:
    """The context that SOFA's headers tell; None without them, or where the caller speaks W3C or B3 as well.

    Whether it is sampled is not said.
    """
    trace_id = head.get(TRACE_ID.lower())
    if not trace_id or any(head.get(name) is not None for name in _OWN_CONTEXT):
        return None
    digits = trace_id.lower().zfill(32)
    if _HEX.fullmatch(trace_id) is None or not digits.strip(b"0"):
        digits = _digest(trace_id, 16)
    return SpanContext(digits, _digest(trace_id + b"/" + (head.get(RPC_ID.lower()) or _ROOT), 8), None)


def trace_identity(head: RequestHead) -> bytes | None:
    """An x-request-id that all proxies on the request's way work out alike, so that they draw alike; None if nothing identifies it."""
    own = head.get(b"x-request-id")
    if own:
        return own
    trace = head.get(b"traceparent") or b""
    trace_id = trace.split(b"-")[1] if trace.count(b"-") == 3 else head.get(TRACE_ID.lower())
    if not trace_id:
        return None
    digits = _digest(trace_id, 16)
    return b"-".join((digits[:8], digits[8:12], b"4" + digits[13:16], b"8" + digits[17:20], digits[20:]))


def begin_call(tracer: Tracer, info: StreamInfo, head: RequestHead, route: Route | None, fresh: bytes) -> None:
    """Give the call of ``info`` its span. ``fresh`` identifies it where nothing else does (as x-request-id)."""
    tracer.begin(info, head, trace_identity(head) or fresh, route, sofa_parent(head))
    span = info.span
    if isinstance(span, Span):
        service, method = head.authority.decode("utf-8", "replace"), head.path[1:].decode("utf-8", "replace")
        span.tags = (*span.tags, ("rpc.system", info.protocol), ("rpc.service", service), ("rpc.method", method))


def inject(span: TraceSpan, headers: Headers, codec: str) -> None:
    """Tell whoever gets ``headers`` of ``span``; where SOFA's protocol begins a trace here, in SOFA's words as well."""
    span.inject(headers)
    headers[:] = [field for field in headers if field[1] or field[0] != b"tracestate"]
    if codec in _OF_SOFA and isinstance(span, Span):
        begin_sofa(span.context, headers)


def begin_sofa(context: SpanContext, headers: Headers) -> None:
    """Let applications of SOFA behind the proxy go on with a trace that begins here: add their headers, unless they are there."""
    if not any(name.lower() == TRACE_ID.lower() for name, _ in headers):
        headers.append((TRACE_ID, context.trace_id))
        headers.append((RPC_ID, _ROOT))


def _digest(value: bytes, size: int) -> bytes:
    return blake2b(value, digest_size=size).hexdigest().encode()
