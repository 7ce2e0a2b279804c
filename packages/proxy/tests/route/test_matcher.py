"""Header conditions, with the answers of a live Envoy."""

from __future__ import annotations

import pytest

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.matcher import conditions, query_value
from isthmus_proxy.route.model import HeaderMatch, QueryMatch, RouteMatch, StringMatch

IS_A = StringMatch("exact", b"a")
INVERTED = HeaderMatch(b"x", IS_A, invert=True)
INVERTED_EMPTY = HeaderMatch(b"x", IS_A, invert=True, treat_missing_as_empty=True)
RANGE = HeaderMatch(b"x", range=(-5, 10))


def holds(match: HeaderMatch | QueryMatch, *values: bytes, path: bytes = b"/") -> bool:
    request = RequestHead(b"GET", path, b"h", [(b"x", value) for value in values])
    if isinstance(match, HeaderMatch):
        route = RouteMatch(StringMatch("prefix", b"/"), headers=(match,))
    else:
        route = RouteMatch(StringMatch("prefix", b"/"), query=(match,))
    return all(condition(request) for condition in conditions(route))


@pytest.mark.parametrize(
    ("match", "values", "expected"),
    [
        (INVERTED, (), False),
        (INVERTED, (b"b",), True),
        (INVERTED, (b"b", b"a"), False),
        (INVERTED_EMPTY, (), True),
        (INVERTED_EMPTY, (b"a",), False),
        (HeaderMatch(b"x"), (b"",), True),
        (HeaderMatch(b"x"), (), False),
        (HeaderMatch(b"x", present=False), (), True),
        (HeaderMatch(b"x", present=False), (b"a",), False),
        (HeaderMatch(b"x", invert=True), (), True),
        (HeaderMatch(b"x", present=False, invert=True), (b"a",), True),
        (HeaderMatch(b"x", IS_A), (b"b", b"a"), True),
        (HeaderMatch(b"x", StringMatch("exact", b"a", ignore_case=True)), (b"A",), True),
        (HeaderMatch(b"x", StringMatch("regex", b"[0-9]{3}")), (b"123",), True),
        (HeaderMatch(b"x", StringMatch("regex", b"[0-9]{3}")), (b"1234",), False),
        (RANGE, (b"-5",), True),
        (RANGE, (b"10",), False),
        (RANGE, (b"+3",), True),
        (RANGE, (b"1.0",), False),
        (RANGE, (b"1_0",), False),
        (RANGE, ("٣".encode(),), False),
        (RANGE, (b"50", b"5"), True),
    ],
)
def test_headers(match: HeaderMatch, values: tuple[bytes, ...], expected: bool) -> None:
    assert holds(match, *values) is expected


def test_query_parameters_are_compared_as_sent() -> None:
    match = QueryMatch(b"k", StringMatch("exact", b"v%20"))
    assert holds(match, path=b"/?k=v%20")
    assert not holds(match, path=b"/?k=v+")
    assert not holds(match, path=b"/?k=x&k=v%20")
    absent = QueryMatch(b"k", StringMatch("present"), present=False)
    assert holds(absent, path=b"/")
    assert not holds(absent, path=b"/?k")


def test_reading_a_query() -> None:
    assert query_value(b"/p?a=1&b", b"b") == b""
    assert query_value(b"/p?a=1&b", b"c") is None
    assert query_value(b"/p?a=1#b=2", b"a") == b"1"
    assert query_value(b"/p", b"") is None
