"""Rewrites, redirects and header edits, with the answers of a live Envoy."""

from __future__ import annotations

import pytest

from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import (
    AppendAction,
    ClusterWeight,
    Decision,
    ForwardAction,
    HeaderEdit,
    HeaderEdits,
    RedirectAction,
    RegexRewrite,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.redirect import location
from isthmus_proxy.route.regex import BadPatternError, compile_pattern, compile_substitution, substitute
from isthmus_proxy.route.rewrite import apply_request, apply_response, new_path
from isthmus_proxy.route.table import RouteTable

PREFIX = StringMatch("prefix", b"/pre")
NO_EDITS = HeaderEdits()


@pytest.mark.parametrize(
    ("match", "prefix", "path", "expected"),
    [
        (PREFIX, b"/p", b"/pre/x?y=1", b"/p/x?y=1"),
        (PREFIX, b"/p", b"/prex", b"/px"),
        (StringMatch("prefix", b"/pre", ignore_case=True), b"/p", b"/PRE/X", b"/p/X"),
        (StringMatch("exact", b"/exact"), b"/e", b"/exact?q", b"/e?q"),
        (StringMatch("regex", b"/rx/.*"), b"/e/", b"/rx/abc?q", b"/e/?q"),
        (StringMatch("path_separated_prefix", b"/sep"), b"/s", b"/sep/a", b"/s/a"),
        (StringMatch("path_separated_prefix", b"/sep"), b"/s", b"/sep?b", b"/s?b"),
    ],
)
def test_prefix_rewrite(match: StringMatch, prefix: bytes, path: bytes, expected: bytes) -> None:
    assert new_path(match, prefix, None, path) == expected


def test_regex_rewrite_substitutes_every_match_but_not_in_the_query() -> None:
    rewrite = RegexRewrite(b"/([a-z]+)", rb"/<\1>")
    assert new_path(PREFIX, None, rewrite, b"/rr/abc/Def9?z=/y") == b"/<rr>/<abc>/Def9?z=/y"


def test_substitutions() -> None:
    assert substitute(b"(a)(b)?", rb"[\2\1\0\\]", b"xa\xff") == b"x[aa\\]\xff"
    for template in (rb"\2", rb"\x", b"\\"):
        with pytest.raises(BadPatternError, match="groups"):
            compile_substitution(b"(a)", template)
    with pytest.raises(BadPatternError, match=r".+"):
        compile_pattern(b"(?=a)")


@pytest.mark.parametrize(
    ("action", "authority", "path", "expected"),
    [
        (RedirectAction(https=True), b"redir", b"/x?a=b", b"https://redir/x?a=b"),
        (RedirectAction(https=True), b"redir:80", b"/x", b"https://redir/x"),
        (RedirectAction(https=True), b"redir:29000", b"/x", b"https://redir:29000/x"),
        (RedirectAction(scheme=b"FTP", strip_query=True), b"redir", b"/x?a=b", b"FTP://redir/x"),
        (RedirectAction(host=b"h.example:99", port=8), b"redir", b"/x", b"http://h.example:99:8/x"),
        (RedirectAction(port=8443), b"redir:29000", b"/x?y", b"http://redir:8443/x?y"),
        (RedirectAction(path=b"/new"), b"redir", b"/x?q=1", b"http://redir/new?q=1"),
        (RedirectAction(path=b"/new?x=1"), b"redir", b"/x?q=1", b"http://redir/new?x=1"),
        (RedirectAction(prefix_rewrite=b"/y"), b"redir", b"/pre/a?b", b"http://redir/y/a?b"),
        (RedirectAction(regex_rewrite=RegexRewrite(b"/pre/(.)", rb"/z\1")), b"r", b"/pre/a?d", b"http://r/za?d"),
    ],
)
def test_locations(action: RedirectAction, authority: bytes, path: bytes, expected: bytes) -> None:
    assert location(PREFIX, action, RequestHead(b"GET", path, authority, [])) == expected


def decided(action: ForwardAction, route_edits: HeaderEdits = NO_EDITS, host_edits: HeaderEdits = NO_EDITS) -> Decision:
    route = Route(RouteMatch(PREFIX), action, request_headers=route_edits)
    host = VirtualHost("h", (b"*",), (route,), request_headers=host_edits, response_headers=host_edits)
    configuration = RouteConfiguration("r", (host,))
    decision = RouteTable(configuration).decide(RequestHead(b"GET", b"/pre", b"h", []))
    assert decision is not None
    return decision


def forward(**fields: object) -> ForwardAction:
    return ForwardAction((ClusterWeight("c"),), 1, **fields)  # type: ignore[arg-type]


def test_a_rewrite_shows_what_it_replaced() -> None:
    request = RequestHead(b"GET", b"/pre/x", b"up.example", [(b"x-forwarded-host", b"q")])
    info = StreamInfo(0.0, 0.0)
    action = forward(prefix_rewrite=b"/p", host_rewrite=b"new.host", append_forwarded_host=True)
    apply_request(decided(action), action.clusters[0], request, info)
    assert (request.path, request.authority, info.original_path) == (b"/p/x", b"new.host", b"/pre/x")
    assert request.headers == [
        (b"x-forwarded-host", b"q,up.example"),
        (b"x-envoy-original-host", b"up.example"),
        (b"x-envoy-original-path", b"/pre/x"),
    ]


def test_unless_envoy_headers_are_suppressed() -> None:
    client: Headers = [(b"x-envoy-original-path", b"q"), (b"x-envoy-original-host", b"q")]
    request = RequestHead(b"GET", b"/pre/x", b"up.example", list(client))
    action = forward(prefix_rewrite=b"/p", host_rewrite=b"new.host")
    apply_request(decided(action), action.clusters[0], request, StreamInfo(0.0, 0.0), show_original_path=False)
    assert request.headers == client


def edit(
    name: bytes, value: bytes, action: AppendAction = "APPEND_IF_EXISTS_OR_ADD", *, keep: bool = False
) -> HeaderEdit:
    render = compile_text(value.decode(), omit_empty=True) if b"%" in value else None
    return HeaderEdit(name, value, action, keep, render)


def edited(headers: Headers, *edits: HeaderEdit, remove: tuple[bytes, ...] = ()) -> Headers:
    info = StreamInfo(0.0, 0.0)
    info.request = RequestHead(b"GET", b"/", b"h", headers)
    header_edits.apply(HeaderEdits(edits, remove), headers, info)
    return headers


def test_append_actions() -> None:
    assert edited([(b"a", b"1")], edit(b"a", b"2")) == [(b"a", b"1"), (b"a", b"2")]
    assert edited([(b"a", b"1")], edit(b"a", b"2", "ADD_IF_ABSENT")) == [(b"a", b"1")]
    assert edited([], edit(b"a", b"2", "ADD_IF_ABSENT")) == [(b"a", b"2")]
    assert edited([(b"a", b"1")], edit(b"a", b"2", "OVERWRITE_IF_EXISTS")) == [(b"a", b"2")]
    assert edited([], edit(b"a", b"2", "OVERWRITE_IF_EXISTS")) == []
    overwrite = edit(b"a", b"2", "OVERWRITE_IF_EXISTS_OR_ADD")
    assert edited([(b"a", b"1"), (b"b", b"1"), (b"a", b"3")], overwrite) == [(b"b", b"1"), (b"a", b"2")]
    assert edited([], overwrite) == [(b"a", b"2")]


def test_removal_comes_first_and_overwriting_before_adding() -> None:
    edits = (edit(b"new", b"1"), edit(b"set", b"1", "OVERWRITE_IF_EXISTS_OR_ADD"))
    assert edited([(b"gone", b"1")], *edits, edit(b"gone", b"2"), remove=(b"gone",)) == [
        (b"set", b"1"),
        (b"new", b"1"),
        (b"gone", b"2"),
    ]


def test_values_are_formatted_and_empty_ones_left_out() -> None:
    edits = (edit(b"x", b"%REQ(a)%%% %PROTOCOL%"), edit(b"y", b"%REQ(b)%"), edit(b"z", b"%REQ(b)%", keep=True))
    assert edited([(b"a", b"A")], *edits)[1:] == [(b"x", b"A% HTTP/1.1"), (b"z", b"")]


def test_levels_apply_in_order() -> None:
    def level(value: bytes) -> HeaderEdits:
        return HeaderEdits((edit(b"x", value),))

    target = ClusterWeight("c", 1, level(b"cluster"), level(b"cluster"))
    decision = decided(forward(), level(b"route"), level(b"host"))
    request = RequestHead(b"GET", b"/pre", b"h", [])
    apply_request(decision, target, request, StreamInfo(0.0, 0.0))
    assert [value for _, value in request.headers] == [b"cluster", b"route", b"host"]
    headers: Headers = []
    apply_response(decision, target, headers, StreamInfo(0.0, 0.0))
    assert [value for _, value in headers] == [b"cluster", b"host"]
    headers = []
    apply_response(decision, None, headers, StreamInfo(0.0, 0.0))
    assert [value for _, value in headers] == [b"host"]
