"""Trace contexts as headers: W3C Trace Context (traceparent, tracestate) and B3 (x-b3-*, and the single header b3). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isthmus_proxy.http.message import Headers

W3C, B3, B3_SINGLE = "w3c", "b3", "b3 single"


@dataclass(frozen=True, slots=True)
class SpanContext:
    """Whose child a span is, or what its children are told. Identifiers are lower-case hexadecimal digits.

    ``sampled`` None: whoever comes next may decide. ``form`` is that of the headers it came in.
    """

    trace_id: bytes
    span_id: bytes
    sampled: bool | None
    parent_id: bytes = b""
    state: bytes = b""
    form: str = W3C
    debug: bool = False


class BadContextError(ValueError):
    """Headers that claim to be a context and are none."""


_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_TRACE_ID = re.compile(rb"(?:[0-9a-fA-F]{16}){1,2}")
_SPAN_ID = re.compile(rb"[0-9a-fA-F]{16}")
_SINGLE = re.compile(rb"((?:[0-9a-fA-F]{16}){1,2})-([0-9a-fA-F]{16})(?:-([01d]))?(?:-([0-9a-fA-F]{16}))?")
_SAMPLED = {b"1": True, b"true": True, b"0": False, b"false": False, b"d": True}
_ZERO = b"0"


def _joined(headers: Headers, name: bytes) -> bytes | None:
    values = [value for key, value in headers if key == name]
    return b",".join(values) if values else None


def from_w3c(headers: Headers) -> SpanContext | None:
    """The context in ``traceparent`` and ``tracestate``, None without one (W3C Trace Context, 3.2). Raises BadContextError."""
    parent = _joined(headers, b"traceparent")
    if parent is None:
        return None
    found = _TRACEPARENT.fullmatch(parent)
    # Later versions may be longer, but nothing is known of them; Envoy refuses them, too.
    if found is None or not found[2].strip(_ZERO) or not found[3].strip(_ZERO):
        raise BadContextError(parent)
    state = _joined(headers, b"tracestate") or b""
    return SpanContext(found[2], found[3], bool(int(found[4], 16) & 1), state=state)


def from_b3(headers: Headers) -> SpanContext | None:
    """The context in ``b3`` or ``x-b3-*``, None without one (OpenZipkin B3). Raises BadContextError.

    One that only says whether to sample has no identifiers.
    """
    single = _joined(headers, b"b3")
    if single is not None:
        return _from_single(single)
    trace_id, span_id = _joined(headers, b"x-b3-traceid"), _joined(headers, b"x-b3-spanid")
    debug = _joined(headers, b"x-b3-flags") == b"1"
    sampled = True if debug else _SAMPLED.get(_joined(headers, b"x-b3-sampled") or b"")
    if trace_id is None or span_id is None:
        return SpanContext(b"", b"", sampled, form=B3, debug=debug) if sampled is not None else None
    parent = _joined(headers, b"x-b3-parentspanid") or b""
    well_formed = _TRACE_ID.fullmatch(trace_id) and _SPAN_ID.fullmatch(span_id)
    if not well_formed or (parent and not _SPAN_ID.fullmatch(parent)):
        raise BadContextError(trace_id)
    return SpanContext(trace_id.lower(), span_id.lower(), sampled, parent.lower(), form=B3, debug=debug)


def _from_single(value: bytes) -> SpanContext:
    if value in _SAMPLED and len(value) == 1:
        return SpanContext(b"", b"", _SAMPLED[value], form=B3_SINGLE, debug=value == b"d")
    found = _SINGLE.fullmatch(value)
    if found is None:
        raise BadContextError(value)
    flag = found[3]
    sampled = _SAMPLED[flag] if flag is not None else None
    parent = (found[4] or b"").lower()
    return SpanContext(found[1].lower(), found[2].lower(), sampled, parent, form=B3_SINGLE, debug=flag == b"d")


_OF_FORM = {
    W3C: frozenset((b"traceparent", b"tracestate")),
    B3: frozenset((b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled")),
    B3_SINGLE: frozenset((b"b3",)),
}


def put(context: SpanContext, headers: Headers) -> None:
    """Write ``context`` into ``headers``, in its form and in place of what they say of one."""
    gone = _OF_FORM[context.form]
    headers[:] = [field for field in headers if field[0] not in gone]
    headers.extend(_FIELDS[context.form](context))


def _w3c(context: SpanContext) -> Headers:
    flags = b"01" if context.sampled else b"00"
    parent = b"00-%b-%b-%b" % (context.trace_id, context.span_id, flags)
    return [(b"traceparent", parent), (b"tracestate", context.state)]


def _b3(context: SpanContext) -> Headers:
    parent = [(b"x-b3-parentspanid", context.parent_id)] if context.parent_id else []
    return [
        (b"x-b3-traceid", context.trace_id),
        (b"x-b3-spanid", context.span_id),
        *parent,
        (b"x-b3-sampled", b"1" if context.sampled else b"0"),
    ]


def _b3_single(context: SpanContext) -> Headers:
    sampled = b"d" if context.debug else b"1" if context.sampled else b"0"
    parent = b"-" + context.parent_id if context.parent_id else b""
    return [(b"b3", b"%b-%b-%b%b" % (context.trace_id, context.span_id, sampled, parent))]


_FIELDS = {W3C: _w3c, B3: _b3, B3_SINGLE: _b3_single}
