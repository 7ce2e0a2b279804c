"""Where a redirect of an upstream leads, and why it is not followed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http1 import parse_response_head
from isthmus_proxy.http.internal_redirect import Moved, Trail, follow
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import (
    Decision,
    DirectResponseAction,
    InternalRedirectPolicy,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)

ROUTE = Route(RouteMatch(StringMatch("prefix", b"/")), DirectResponseAction(200), "next")
HOST = VirtualHost("v", (b"*",), (ROUTE,))
DECISION = Decision(HOST, ROUTE, RouteConfiguration("r", (HOST,)))


def decide(head: RequestHead) -> Decision | None:
    return None if head.path.startswith(b"/none") else DECISION


def followed(
    location: bytes,
    policy: InternalRedirectPolicy | None = None,
    *,
    method: bytes = b"GET",
    status: int = 302,
    trail: Trail | None = None,
) -> Moved | str:
    head = b"HTTP/1.1 %d Found\r\nlocation: %b\r\nx-token: new\r\n\r\n" % (status, location)
    sent = RequestHead(method, b"/a?b", b"a.test", [(b"content-length", b"3"), (b"x-token", b"old")])
    return follow(
        policy or InternalRedirectPolicy(), parse_response_head(head), sent, "first", trail or Trail(), decide
    )


@pytest.mark.parametrize(
    ("location", "authority", "path"),
    [
        (b"http://b.test/c?d#e", b"b.test", b"/c?d"),
        (b"HTTP://b.test:80", b"b.test:80", b"/"),
        (b"http://b.test?x=/y", b"b.test", b"/?x=/y"),
        (b"http://[::1]:8080/c", b"[::1]:8080", b"/c"),
    ],
)
def test_where_it_leads(location: bytes, authority: bytes, path: bytes) -> None:
    moved = followed(location)
    assert isinstance(moved, Moved)
    assert (moved.head.authority, moved.head.path, moved.head.method) == (authority, path, b"GET")
    assert moved.head.get(b"x-envoy-original-url") == b"http://a.test/a?b"
    assert moved.trail == Trail(1, frozenset({("first", "next")}))


@pytest.mark.parametrize(
    "location", [b"/c", b"b.test/c", b"ftp://b.test/", b"http:///c", b"http://u@b.test/", b"://", b"http://b c/"]
)
def test_what_is_no_url_of_http(location: bytes) -> None:
    assert followed(location) == "bad_location"


@pytest.mark.parametrize(
    ("location", "policy", "trail", "reason"),
    [
        (b"https://b.test/", InternalRedirectPolicy(), Trail(), "unsafe_scheme"),
        (b"http://b.test/", InternalRedirectPolicy(), Trail(1), "too_many_redirects"),
        (b"http://b.test/none", InternalRedirectPolicy(), Trail(), "no_route"),
        (b"http://b.test/", InternalRedirectPolicy(allowed_routes=(frozenset({"other"}),)), Trail(), "predicate"),
        (
            b"http://b.test/",
            InternalRedirectPolicy(2, refuse_previous_routes=True),
            Trail(1, frozenset({("first", "next")})),
            "predicate",
        ),
        (
            b"https://b.test/",
            InternalRedirectPolicy(allow_cross_scheme=True, refuse_downgrade_of_trust=True),
            Trail(),
            "predicate",
        ),
    ],
)
def test_why_it_is_not_followed(location: bytes, policy: InternalRedirectPolicy, trail: Trail, reason: str) -> None:
    assert followed(location, policy, trail=trail) == reason


def test_see_other_leaves_the_body_behind() -> None:
    moved = followed(b"http://b.test/", method=b"POST", status=303)
    assert isinstance(moved, Moved)
    assert moved.bodyless
    assert (moved.head.method, moved.head.get(b"content-length")) == (b"GET", None)
    kept = followed(b"http://b.test/", method=b"HEAD", status=303)
    assert isinstance(kept, Moved)
    assert (kept.bodyless, kept.head.method) == (False, b"HEAD")


def test_headers_are_copied_from_the_redirect_or_removed() -> None:
    moved = followed(b"http://b.test/", InternalRedirectPolicy(headers_to_copy=(b"x-token", b"content-length")))
    assert isinstance(moved, Moved)
    assert (moved.head.get(b"x-token"), moved.head.get(b"content-length")) == (b"new", None)


@given(st.binary(max_size=40).filter(lambda value: not set(value) & set(b"\r\n\0") and value == value.strip()))
def test_no_location_breaks_it(location: bytes) -> None:
    head = b"HTTP/1.1 302 Found\r\n\r\n"
    response = parse_response_head(head)
    response.headers = ((b"location", location),)
    sent = RequestHead(b"GET", b"/", b"a", [])
    found = follow(InternalRedirectPolicy(allow_cross_scheme=True), response, sent, "", Trail(), decide)
    if isinstance(found, Moved):
        assert found.head.path.startswith(b"/")
        assert found.head.authority
