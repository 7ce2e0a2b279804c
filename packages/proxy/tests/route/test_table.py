from __future__ import annotations

import re
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.domains import without_port
from isthmus_proxy.route.matcher import conditions
from isthmus_proxy.route.model import (
    ClusterWeight,
    Decision,
    DirectResponseAction,
    ForwardAction,
    HeaderEdit,
    HeaderEdits,
    HeaderMatch,
    QueryMatch,
    RedirectAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.redirect import location
from isthmus_proxy.route.regex import PatternSet
from isthmus_proxy.route.table import KEY_LIMIT, RouteHandles, RouteTable, pick
from isthmus_proxy.route.uri_template import compile_template
from isthmus_proxy.runtime import Fraction, Runtime
from isthmus_proxy.testing import static_values

Kind = Literal["exact", "prefix", "path_separated_prefix", "regex", "template"]


def route(kind: Kind, path: bytes, name: str = "", **fields: object) -> Route:
    folded = bool(fields.pop("folded", False))
    match = RouteMatch(StringMatch(kind, path.lower() if folded else path, folded), **fields)  # type: ignore[arg-type]
    return Route(match, DirectResponseAction(200), name)


def table(*routes: Route, domains: tuple[bytes, ...] = (b"*",), **fields: object) -> RouteTable:
    host = VirtualHost("host", domains, routes)
    return RouteTable(RouteConfiguration("routes", (host,), **fields))  # type: ignore[arg-type]


def get(path: bytes, authority: bytes = b"example.com", *headers: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(b"GET", path, authority, list(headers))


def served(routes: RouteTable, request: RequestHead, random: float = 0.0) -> str | None:
    decision = routes.decide(request, random)
    return None if decision is None else decision.route.name


def test_the_first_route_that_matches_serves() -> None:
    routes = table(
        route("regex", rb"/a/\d+", "digits"),
        route("exact", b"/a/1", "shadowed"),
        route("prefix", b"/a/", "prefix"),
        route("exact", b"/b", "exact"),
        route("prefix", b"/", "rest"),
    )
    assert served(routes, get(b"/a/1?x=/b")) == "digits"
    assert served(routes, get(b"/a/x")) == "prefix"
    assert served(routes, get(b"/b")) == "exact"
    assert served(routes, get(b"/b/")) == "rest"


def test_order_holds_between_kinds_of_paths() -> None:
    exact_last = table(route("prefix", b"/", "first"), route("exact", b"/a", "second"))
    assert served(exact_last, get(b"/a")) == "first"
    longest_last = table(route("prefix", b"/a", "first"), route("prefix", b"/a/b", "second"))
    assert served(longest_last, get(b"/a/b/c")) == "first"


def test_no_route_is_remembered_too() -> None:
    routes = table(route("exact", b"/a"))
    assert served(routes, get(b"/b")) is None
    assert served(routes, get(b"/b")) is None
    assert (routes.memo.hits, routes.memo.misses, routes.memo.size) == (1, 1, 1)


def test_a_separated_prefix_ends_at_a_slash() -> None:
    routes = table(route("path_separated_prefix", b"/api", "api"))
    assert [served(routes, get(path)) for path in (b"/api", b"/api/", b"/api/v1", b"/api?q")] == ["api"] * 4
    assert served(routes, get(b"/apiary")) is None


def test_case_folding_is_of_the_path_alone() -> None:
    routes = table(route("prefix", b"/Shop", "shop", folded=True), route("exact", b"/Exact", "exact"))
    assert served(routes, get(b"/sHOP/Cart")) == "shop"
    assert served(routes, get(b"/exact")) is None


def test_the_query_does_not_split_the_memo() -> None:
    routes = table(route("prefix", b"/", "all"))
    for number in range(100):
        served(routes, get(b"/a?n=%d" % number))
    assert routes.memo.size == 1


def test_a_query_that_is_read_does() -> None:
    query = (QueryMatch(b"v", StringMatch("exact", b"2")),)
    routes = table(route("prefix", b"/", "two", query=query), route("prefix", b"/", "rest"))
    assert served(routes, get(b"/a?v=2")) == "two"
    assert served(routes, get(b"/a?v=3")) == "rest"
    assert served(routes, get(b"/a?v=2")) == "two"


def test_headers_that_are_read_split_the_memo_and_others_do_not() -> None:
    canary = (HeaderMatch(b"x-canary", StringMatch("exact", b"yes")),)
    routes = table(route("prefix", b"/", "canary", headers=canary), route("prefix", b"/", "rest"))
    assert served(routes, get(b"/", b"h", (b"x-canary", b"yes"), (b"x-id", b"1"))) == "canary"
    assert served(routes, get(b"/", b"h", (b"x-canary", b"yes"), (b"x-id", b"2"))) == "canary"
    assert served(routes, get(b"/", b"h")) == "rest"
    assert routes.memo.size == 2


def test_two_headers_are_not_one_with_a_comma() -> None:
    both = (HeaderMatch(b"x", StringMatch("exact", b"a,b")),)
    routes = table(route("prefix", b"/", "both", headers=both))
    assert served(routes, get(b"/", b"h", (b"x", b"a"), (b"x", b"b"))) is None
    assert served(routes, get(b"/", b"h", (b"x", b"a,b"))) == "both"


def test_a_fraction_is_drawn_for_each_request() -> None:
    routes = table(route("prefix", b"/", "some", fraction=Fraction(25)), route("prefix", b"/", "rest"))
    draws = [served(routes, get(b"/"), random) for random in (0.0, 0.2499, 0.25, 0.99)]
    assert draws == ["some", "some", "rest", "rest"]
    assert routes.memo.size == 1


def test_a_run_time_key_overrides_a_fraction() -> None:
    runtime = Runtime(static_values({"half": (5, 10), "text": "x"}, admin=True))
    some = [
        route("exact", b"/%b" % key.encode(), key, fraction=Fraction(0, 100, key)) for key in ("half", "text", "none")
    ]
    host = VirtualHost("host", (b"*",), (*some, route("prefix", b"/", "rest")))
    routes = RouteTable(RouteConfiguration("routes", (host,)), runtime)
    paths = (b"/half", b"/text", b"/none")
    assert [served(routes, get(path), 0.4) for path in paths] == ["half", "rest", "rest"]
    assert runtime.modify({"none": "50", "half": "0"})
    assert [served(routes, get(path), 0.4) for path in paths] == ["rest", "rest", "none"]
    assert runtime.modify({"none": "", "half": ""})
    assert [served(routes, get(path), 0.4) for path in paths] == ["half", "rest", "rest"]


def test_path_parameters_can_be_ignored() -> None:
    routes = table(route("exact", b"/a", "a"), ignore_path_parameters=True)
    assert [served(routes, get(path)) for path in (b"/a;v=1", b"/a;v=1?q", b"/b;/a")] == ["a", "a", None]


def test_many_patterns_are_one_pass_that_fails_safe() -> None:
    routes = table(*[route("regex", rb"/%d/[a-z]+" % number, str(number)) for number in range(200)])
    assert served(routes, get(b"/150/abc")) == "150"
    assert served(routes, get(b"/150/ABC")) is None
    assert PatternSet([b"a", b"a.*", b"b"]).matching(b"a\n") == []
    assert PatternSet([b"a", b"a.*", b"b"]).matching(b"a") == [0, 1]


def test_grpc_routes_want_the_content_type() -> None:
    routes = table(route("prefix", b"/", "grpc", grpc=True))
    assert served(routes, get(b"/", b"h", (b"content-type", b"application/grpc+proto"))) == "grpc"
    assert served(routes, get(b"/", b"h", (b"content-type", b"application/grpcx"))) is None
    assert served(routes, get(b"/")) is None


def test_virtual_hosts_by_precedence() -> None:
    def host(name: str, *domains: bytes) -> VirtualHost:
        return VirtualHost(name, domains, (route("prefix", b"/", name),))

    routes = RouteTable(
        RouteConfiguration(
            "routes",
            (
                host("rest", b"*"),
                host("suffix", b"*.example.com"),
                host("longer suffix", b"*.a.example.com", b"*-x.example.com"),
                host("prefix", b"www.*"),
                host("exact", b"www.example.com", b"with.port:81"),
            ),
        )
    )
    expected = {
        b"WWW.Example.com": "exact",
        b"b.example.com": "suffix",
        b"b.a.example.com": "longer suffix",
        b"a-x.example.com": "longer suffix",
        b".example.com": "rest",  # the wildcard stands for at least one character
        b"www.example.org": "prefix",
        b"www.x.example.com": "suffix",
        b"www.": "rest",
        b"with.port:81": "exact",
        b"with.port:82": "rest",
        b"b.example.com:80": "rest",
        b"": "rest",
    }
    assert {authority: served(routes, get(b"/", authority)) for authority in expected} == expected


def test_ports_can_be_ignored() -> None:
    routes = table(route("prefix", b"/", "all"), domains=(b"example.com", b"[::1]"), ignore_port_in_host_matching=True)
    for authority in (b"example.com", b"example.com:8080", b"[::1]:80", b"[::1]"):
        assert served(routes, get(b"/", authority)) == "all"
    assert without_port(b"::1") == b"::1"
    assert without_port(b"a:b") == b"a:b"


def test_a_long_reading_is_not_remembered() -> None:
    routes = table(route("prefix", b"/", "all"))
    served(routes, get(b"/" + b"a" * KEY_LIMIT))
    assert (routes.memo.size, routes.unmemoised) == (0, 1)


def test_edits_come_most_specific_first_unless_told_otherwise() -> None:
    def edits(name: bytes) -> HeaderEdits:
        return HeaderEdits((HeaderEdit(b"x", name),))

    one = Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200), request_headers=edits(b"route"))
    host = VirtualHost("host", (b"*",), (one,), request_headers=edits(b"host"))
    for wins, expected in ((False, [b"route", b"host", b"all"]), (True, [b"all", b"host", b"route"])):
        configuration = RouteConfiguration(
            "r", (host,), request_headers=edits(b"all"), most_specific_header_mutations_wins=wins
        )
        decision = RouteTable(configuration).decide(get(b"/"))
        assert decision is not None
        assert [each.add[0].value for each in decision.request_edits] == expected
        assert decision.response_edits == ()


@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any), steps=st.integers(1, 50))
def test_pick_shares_by_weight(weights: list[int], steps: int) -> None:
    clusters = tuple(ClusterWeight(str(index), weight) for index, weight in enumerate(weights))
    action = ForwardAction(clusters, sum(weights))
    draws = sum(weights) * steps
    counts = dict.fromkeys(clusters, 0)
    for draw in range(draws):
        counts[pick(action, (draw + 0.5) / draws)] += 1
    assert [counts[cluster] for cluster in clusters] == [weight * steps for weight in weights]


def test_handles_outlive_their_tables() -> None:
    handles = RouteHandles()
    handle = handles.get_or_create("routes")
    assert not handles.handles()[0].table
    first = RouteConfiguration("routes", (), content="1")
    assert handles.update(first)
    assert not handles.update(RouteConfiguration("routes", (), content="1"))
    kept = handle.table
    assert handles.update(RouteConfiguration("routes", (), content="2"))
    assert handle.table is not kept
    assert handles.get_or_create("routes") is handle
    handles.remove("routes")
    assert handles.names() == []


# ---- the compiled table against a linear scan ----

SEGMENT = st.sampled_from([b"a", b"a", b"A", b"ab", b""])
PATH = st.lists(SEGMENT, max_size=2).map(lambda parts: b"/" + b"/".join(parts))
SEPARATED = PATH.map(lambda path: path.rstrip(b"/")).filter(bool)
REGEX = st.sampled_from([rb"/a.*", rb"/[ab]+", rb".*b", rb"/a/?", rb"/(a|ab)/.+", rb"/A.?"])
TEMPLATE = st.sampled_from(["/*", "/{x}/**", "/a/*", "/**b"]).map(lambda text: compile_template(text).regex)
VALUE = st.sampled_from([b"1", b"2", b"12", b""])
STRING = st.builds(StringMatch, st.sampled_from(["exact", "prefix", "suffix", "contains", "present"]), VALUE)
HEADER = st.one_of(
    st.builds(HeaderMatch, st.sampled_from([b"x", b"y", b":method"]), STRING, invert=st.booleans()),
    st.builds(HeaderMatch, st.just(b"x"), present=st.booleans(), invert=st.booleans()),
    st.builds(HeaderMatch, st.just(b"x"), range=st.just((0, 2)), treat_missing_as_empty=st.booleans()),
    st.builds(HeaderMatch, st.just(b":path"), STRING),
)
QUERY = st.builds(QueryMatch, st.sampled_from([b"q", b"r"]), STRING)
ROUTE_PATH = st.one_of(
    st.tuples(st.just("exact"), PATH, st.booleans()),
    st.tuples(st.just("prefix"), PATH, st.booleans()),
    st.tuples(st.just("path_separated_prefix"), SEPARATED, st.booleans()),
    st.tuples(st.just("regex"), REGEX, st.just(False)),
    st.tuples(st.just("regex"), REGEX, st.just(False)),
    st.tuples(st.just("template"), TEMPLATE, st.just(False)),
).map(lambda row: StringMatch(row[0], row[1].lower() if row[2] else row[1], row[2]))
ROUTES = st.lists(
    st.builds(
        Route,
        st.builds(
            RouteMatch,
            ROUTE_PATH,
            headers=st.sampled_from([0, 0, 0, 1, 2]).flatmap(lambda size: st.tuples(*[HEADER] * size)),
            query=st.sampled_from([0, 0, 0, 1]).flatmap(lambda size: st.tuples(*[QUERY] * size)),
            fraction=st.sampled_from([None, None, None, Fraction(50), Fraction(0, 100, "on")]),
            grpc=st.sampled_from([False] * 9 + [True]),
        ),
        st.just(DirectResponseAction(200)),
    ),
    max_size=12,
)
REQUESTS = st.lists(
    st.tuples(
        st.builds(
            RequestHead,
            st.sampled_from([b"GET", b"1"]),
            st.tuples(PATH, st.sampled_from([b"", b"?q=1", b"?r&q=12", b"?x=2"])).map(b"".join),
            st.sampled_from([b"h", b"h", b"H", b"other"]),
            st.lists(
                st.tuples(st.sampled_from([b"x", b"y", b"z", b"content-type"]), VALUE | st.just(b"application/grpc")),
                max_size=3,
            ),
        ),
        st.sampled_from([0.1, 0.9]),
    ),
    min_size=1,
    max_size=12,
)


def path_matches(match: StringMatch, path: bytes) -> bool:
    """Written anew, with another engine for patterns."""
    if match.kind in ("regex", "template"):
        return re.fullmatch(match.value, path) is not None
    if match.ignore_case:
        path = path.lower()
    if match.kind == "exact":
        return path == match.value
    below = path[len(match.value) :]
    return path.startswith(match.value) and (match.kind == "prefix" or below[:1] in (b"", b"/"))


def scan(routes: list[Route], request: RequestHead, random: float) -> Route | None:
    """What the documentation of RouteConfiguration says, without any cleverness."""
    if request.authority.lower() != b"h":
        return None
    path = request.path.partition(b"?")[0]
    for each in routes:
        match = each.match
        if not path_matches(match.path, path):
            continue
        if not all(holds(request) for holds in conditions(match)):
            continue
        if match.fraction is None or match.fraction.runtime_key or random < 0.5:
            return each
    return None


@settings(max_examples=300)
@given(routes=ROUTES, requests=REQUESTS, memo=st.integers(1, 6))
def test_the_table_agrees_with_a_linear_scan(
    routes: list[Route], requests: list[tuple[RequestHead, float]], memo: int
) -> None:
    host = VirtualHost("host", (b"h",), tuple(routes))
    compiled = RouteTable(RouteConfiguration("routes", (host,)), Runtime(static_values({"on": 100})), memo)
    for request, random in requests * 2:  # twice, so that the memo answers too
        decision: Decision | None = compiled.decide(request, random)
        expected = scan(routes, request, random)
        assert (None if decision is None else decision.route) is expected or (
            decision is not None and expected is not None and decision.route == expected
        )
        assert compiled.memo.size <= memo + 1


TLS_CASES = [
    ("NONE", b"http", b"", "served"),
    ("EXTERNAL_ONLY", b"http", b"", None),
    ("EXTERNAL_ONLY", b"http", b"true", "served"),
    ("EXTERNAL_ONLY", b"https", b"", "served"),
    ("ALL", b"http", b"true", None),
    ("ALL", b"https", b"", "served"),
    ("ALL", b"", b"", None),
]


@pytest.mark.parametrize(("required", "proto", "internal", "name"), TLS_CASES)
def test_a_virtual_host_that_requires_tls_redirects(
    required: Literal["NONE", "EXTERNAL_ONLY", "ALL"], proto: bytes, internal: bytes, name: str | None
) -> None:
    host = VirtualHost("host", (b"*",), (route("prefix", b"/", "served"),), require_tls=required)
    routes = RouteTable(RouteConfiguration("routes", (host,)))
    request = get(b"/", b"a.b:80", (b"x-forwarded-proto", proto), (b"x-envoy-internal", internal))
    for _ in range(2):
        decision = routes.decide(request)
        assert decision is not None
        assert (decision.route.name or None) == name
        if name is None:
            assert isinstance(decision.route.action, RedirectAction)
            assert location(decision.route.match.path, decision.route.action, request) == b"https://a.b:80/"
    other = get(b"/", b"a.b:80", (b"x-forwarded-proto", b"https"))
    assert served(routes, other) == "served"  # what is remembered knows of the scheme
