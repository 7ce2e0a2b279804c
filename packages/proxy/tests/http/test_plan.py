"""What is worked out once per head equals what would be worked out for each request alone."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http1 import LENGTH, parse_request_head, parse_response_head
from isthmus_proxy.codec.http1.serialise import request_head, response_head
from isthmus_proxy.http.client_address import Vantage
from isthmus_proxy.http.forwarded import X_REQUEST_ID
from isthmus_proxy.http.plan import has_fractions, make_plan
from isthmus_proxy.http.response_plan import SERVICE_TIME, Styles, make_response_plan
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, RdsReference
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderEdit,
    HeaderEdits,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.table import RouteTable
from isthmus_proxy.runtime import Fraction

CONFIG = HttpConnectionManagerConfig("s", RdsReference("r"))
CLIENT = Vantage(b"10.0.0.1", 80, b"10.0.0.1")
WEIGHT = ClusterWeight("c", response_headers=HeaderEdits((HeaderEdit(b"x-resp", b"1"),), (b"x-b",)))


def table(edits: HeaderEdits, fraction: Fraction | None = None) -> RouteTable:
    action = ForwardAction((WEIGHT,), 1, prefix_rewrite=b"/new")
    match = RouteMatch(StringMatch("prefix", b"/"), fraction=fraction)
    route = Route(match, action, request_headers=edits)
    return RouteTable(RouteConfiguration("r", (VirtualHost("v", (b"*",), (route,)),)))


NAMES = st.sampled_from([b"x-a", b"x-b", b"te", b"connection", b"x-request-id", b"x-forwarded-proto", b"via", b"content-length",
    b"x-envoy-max-retries", b"keep-alive", b"server", b"date", b"x-envoy-upstream-service-time"])  # fmt: skip
VALUES = st.sampled_from([b"1", b"x-a", b"close, x-b", b"trailers", b"request-id", b"milliseconds", b""])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(
    lambda fields: [field for field in fields if field[0] != b"content-length"]
)
EDITS = st.builds(
    HeaderEdits,
    st.lists(st.builds(HeaderEdit, NAMES.filter(lambda name: name != b"content-length"), VALUES), max_size=2).map(
        tuple
    ),
    st.lists(st.sampled_from([b"x-a", b"x-request-id", b"x-forwarded-proto", b"content-length"]), max_size=2).map(
        tuple
    ),
)


@given(headers=HEADERS, edits=EDITS, length=st.sampled_from([None, 0, 5]), method=st.sampled_from([b"GET", b"POST"]))
def test_planned_heads_equal_heads_made_alone(
    headers: list[tuple[bytes, bytes]], edits: HeaderEdits, length: int | None, method: bytes
) -> None:
    framing = [] if length is None else [(b"content-length", b"%d" % length)]
    request = parse_request_head(request_head(method, b"/p?q", b"a.b", [*headers, *framing]))
    plan = make_plan(request, CONFIG, table(edits), CLIENT, 0.5)
    target = plan.target(WEIGHT, request, Styles(suppress_envoy_headers=False))
    assert target is plan.target(WEIGHT, request, Styles(suppress_envoy_headers=False))
    identifier = b"11111111-2222-4333-8444-555555555555" if plan.needs_id else plan.own_id
    planned = target.before + identifier + target.after if target.id_index >= 0 else target.before
    alone = target.encode(target.finish(StreamInfo(0, 0), identifier, 1, 15.0))
    assert planned == alone
    again = parse_request_head(planned)
    assert again.end_stream == request.end_stream
    if again.framing == LENGTH:
        assert again.length == request.length
    names = [name for name, _ in again.headers]
    assert b"connection" not in [name for name in names if name not in [edit.name for edit in edits.add]]


@given(headers=HEADERS, status=st.sampled_from([200, 204, 304, 503]), length=st.sampled_from([None, 0, 5]))
def test_response_heads_have_their_parts_cut_in(
    headers: list[tuple[bytes, bytes]], status: int, length: int | None
) -> None:
    framing = [] if length is None else [(b"content-length", b"%d" % length)]
    response = parse_response_head(response_head(status, [*headers, *framing]))
    request = parse_request_head(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    plan = make_plan(request, CONFIG, table(HeaderEdits()), CLIENT, 0.5)
    style = plan.target(WEIGHT, request, Styles(suppress_envoy_headers=False)).style
    made = make_response_plan(response, CONFIG, style, StreamInfo(0, 0), request)
    head = parse_response_head(made.encode(42, b"Mon, 23 Nov 2026 21:00:00 GMT"))
    fields = list(head.headers)
    names = [name for name, _ in fields]
    assert fields.count((SERVICE_TIME, b"42")) == 1
    assert names.count(SERVICE_TIME) == 1
    assert [value for name, value in fields if name == b"server"] == [b"envoy"]
    assert b"date" in names
    assert (b"x-resp", b"1") in fields
    assert b"x-b" not in names
    assert head.framing == (0 if status in (204, 304) else {None: 2, 0: 0, 5: 1}[length])


def test_a_client_cannot_forge_the_marker() -> None:
    raw = b"GET / HTTP/1.1\r\nhost: a\r\nx-request-id: request-id\r\n\r\n"
    request = parse_request_head(raw)
    plan = make_plan(request, CONFIG, table(HeaderEdits()), CLIENT, 0.5)
    assert not plan.needs_id
    target = plan.target(WEIGHT, request, Styles(suppress_envoy_headers=False))
    assert target.id_index == -1
    assert X_REQUEST_ID + b": request-id\r\n" in target.before


def test_plans_by_lot_are_recognised() -> None:
    assert has_fractions(table(HeaderEdits(), Fraction(1)))
    assert not has_fractions(table(HeaderEdits()))


def test_a_plan_goes_with_its_request() -> None:
    """Heads that come once are no garbage in cycles: these would wait for a collector that seldom runs."""
    routes, styles = table(HeaderEdits()), Styles(suppress_envoy_headers=False)
    gc.collect()
    request = parse_request_head(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    plan = make_plan(request, CONFIG, routes, CLIENT, 0.0)
    request.plan = plan
    plan.target(WEIGHT, request, styles)
    del request, plan
    assert gc.collect() == 0
