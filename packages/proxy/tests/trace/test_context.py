"""Trace contexts in headers: W3C and B3, taken as a live Envoy takes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.message import Headers
from isthmus_proxy.trace.context import (
    B3,
    B3_SINGLE,
    W3C,
    BadContextError,
    SpanContext,
    from_b3,
    from_w3c,
    put,
)

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
PARENT = b"b7ad6b7169203330"


def test_no_header_is_no_context() -> None:
    assert from_w3c([(b"tracestate", b"a=b")]) is None
    assert from_b3([(b"x-b3-traceid", TRACE)]) is None


@pytest.mark.parametrize(("flags", "sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"ff", True)])
def test_w3c_flags(flags: bytes, sampled: bool) -> None:
    headers = [
        (b"traceparent", b"00-%b-%b-%b" % (TRACE, SPAN, flags)),
        (b"tracestate", b"a=b"),
        (b"tracestate", b"c=d"),
    ]
    assert from_w3c(headers) == SpanContext(TRACE, SPAN, sampled, state=b"a=b,c=d")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"junk",
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-01-more" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-0g" % (TRACE, SPAN),
    ],
)
def test_what_is_no_traceparent_is_refused(value: bytes) -> None:
    with pytest.raises(BadContextError):
        from_w3c([(b"traceparent", value)])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-b3-sampled": b"1"}, SpanContext(b"", b"", True, form=B3)),
        (
            {"x-b3-traceid": TRACE.upper(), "x-b3-spanid": SPAN, "x-b3-parentspanid": PARENT, "x-b3-sampled": b"0"},
            SpanContext(TRACE, SPAN, False, PARENT, form=B3),
        ),
        ({"x-b3-traceid": SPAN, "x-b3-spanid": SPAN}, SpanContext(SPAN, SPAN, None, form=B3)),
        (
            {"x-b3-traceid": SPAN, "x-b3-spanid": SPAN, "x-b3-flags": b"1"},
            SpanContext(SPAN, SPAN, True, form=B3, debug=True),
        ),
        ({"b3": b"0"}, SpanContext(b"", b"", False, form=B3_SINGLE)),
        ({"b3": b"d"}, SpanContext(b"", b"", True, form=B3_SINGLE, debug=True)),
        ({"b3": TRACE + b"-" + SPAN}, SpanContext(TRACE, SPAN, None, form=B3_SINGLE)),
        (
            {"b3": b"-".join((TRACE, SPAN, b"1", PARENT)), "x-b3-traceid": SPAN},
            SpanContext(TRACE, SPAN, True, PARENT, form=B3_SINGLE),
        ),
    ],
)
def test_b3(headers: dict[str, bytes], expected: SpanContext) -> None:
    assert from_b3([(name.encode(), value) for name, value in headers.items()]) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"b3": b""},
        {"b3": b"2"},
        {"b3": TRACE},
        {"b3": TRACE + b"-" + SPAN + b"-x"},
        {"x-b3-traceid": b"1", "x-b3-spanid": SPAN},
        {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN + b"0"},
        {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-parentspanid": b"no"},
    ],
)
def test_what_is_no_b3_is_refused(headers: dict[str, bytes]) -> None:
    with pytest.raises(BadContextError):
        from_b3([(name.encode(), value) for name, value in headers.items()])


@pytest.mark.parametrize(("form", "read"), [(W3C, from_w3c), (B3, from_b3), (B3_SINGLE, from_b3)])
@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_put_is_read_in_place_of_what_was_there(
    form: str, read: Callable[[Headers], SpanContext | None], sampled: bool
) -> None:
    context = SpanContext(TRACE, SPAN, sampled, b"" if form == W3C else PARENT, form=form)
    headers: Headers = [(b"a", b"1")]
    put(SpanContext(TRACE, PARENT, True, SPAN, b"a=b", form), headers)
    headers.append((b"z", b"2"))
    put(context, headers)
    assert headers[:2] == [(b"a", b"1"), (b"z", b"2")]
    assert read(headers) == context


@given(st.binary(max_size=80))
def test_no_value_breaks_the_readers(value: bytes) -> None:
    for read, name in ((from_w3c, b"traceparent"), (from_b3, b"b3"), (from_b3, b"x-b3-sampled")):
        try:
            read([(name, value)])
        except BadContextError:
            continue
