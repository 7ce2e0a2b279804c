"""Rules of HTTP routes."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.testing import virtual_service

HOST = "reviews.shop"
ROUTE = [{"destination": {"host": HOST}}]


def paths(*http: dict[str, Any]) -> set[str]:
    try:
        virtual_service(HOST, *http)
    except DocumentError as error:
        return {problem.path.removeprefix("spec.") for problem in error.problems}
    return set()


@pytest.mark.parametrize(
    "http",
    [
        {"route": ROUTE, "timeout": "0s"},
        {"route": ROUTE, "retries": {"attempts": 0}},
        {"route": ROUTE, "retries": {"attempts": 1, "retryRemoteLocalities": True}},
        {"route": ROUTE, "retries": {"attempts": 3, "retryOn": "5xx,503, gateway-error", "perTryTimeout": "0.5s"}},
        {"redirect": {"uri": "/new", "authority": "other", "redirectCode": 308, "port": 8080}},
        {"directResponse": {"status": 503, "body": {"string": "closed"}}},
        {"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "^/a/(.*)$", "rewrite": r"/b/\1"}}},
        {"route": ROUTE, "headers": {"request": {"set": {"x-a": "%REQ(x-b)%", "x-c": "100%%"}, "remove": ["x-d"]}}},
        {
            "route": ROUTE,
            "mirror": {"host": "a.shop", "subset": "v1", "port": {"number": 80}},
            "mirrorPercentage": {"value": 0},
        },
        {"route": ROUTE, "mirrors": [{"destination": {"host": "a.shop"}, "percentage": {"value": 0.0001}}]},
        {"route": ROUTE, "fault": {"delay": {"fixedDelay": "5s"}, "abort": {"grpcStatus": "UNAVAILABLE"}}},
        {"directResponse": {"status": 200}, "fault": {"abort": {"httpStatus": 599, "percentage": {"value": 0.5}}}},
        {"route": ROUTE, "corsPolicy": {}},
        {
            "route": ROUTE,
            "corsPolicy": {"allowOrigins": [{"exact": "*"}], "allowMethods": ["*", "GET"], "maxAge": "24h"},
        },
        {"match": [{"headers": {"x-user": {}}, "queryParams": {"q": {"exact": "1"}}}], "route": ROUTE},
        {"match": [{"uri": {"regex": "/item/[0-9]+"}, "method": {"exact": "GET"}}], "route": ROUTE},
    ],
)
def test_good_routes(http: dict[str, Any]) -> None:
    assert paths(http) == set()


@pytest.mark.parametrize(
    ("http", "path"),
    [
        ({}, "http[0]"),
        ({"route": ROUTE, "redirect": {"uri": "/"}}, "http[0]"),
        ({"route": [*ROUTE, *ROUTE]}, "http[0].route"),
        ({"redirect": {"uri": "/"}, "timeout": "1s"}, "http[0].timeout"),
        ({"redirect": {"uri": "/"}, "mirror": {"host": "a.shop"}}, "http[0].mirror"),
        ({"redirect": {"uri": "/"}, "mirrors": [{"destination": {"host": "a.shop"}}]}, "http[0].mirrors"),
        ({"route": ROUTE, "mirror": {"host": "*.shop"}}, "http[0].mirror.host"),
        ({"route": ROUTE, "mirror": {"host": "a.shop", "subset": "a|b"}}, "http[0].mirror.subset"),
        ({"route": ROUTE, "mirror": {"host": "a.shop", "port": {}}}, "http[0].mirror.port.number"),
        ({"route": ROUTE, "mirror": {"host": "a"}, "mirrorPercentage": {"value": 101}}, "http[0].mirrorPercentage.value"),
        ({"route": ROUTE, "mirror": {"host": "a"}, "mirrorPercentage": {"value": "NaN"}}, "http[0].mirrorPercentage.value"),
        ({"route": ROUTE, "mirrorPercentage": {"value": 50}}, "http[0].mirrorPercentage"),
        ({"route": ROUTE, "mirrors": [{"percentage": {"value": 1}}]}, "http[0].mirrors[0].destination.host"),
        ({"route": ROUTE, "mirrors": [{"percentage": {"value": 1e-5}}]}, "http[0].mirrors[0].percentage.value"),
        ({"route": ROUTE, "mirror": {"host": "a"}, "mirrors": [{"destination": {"host": "a"}}]}, "http[0].mirrors"),
        ({"route": ROUTE, "fault": {}}, "http[0].fault"),
        ({"route": ROUTE, "fault": {"delay": {}}}, "http[0].fault.delay"),
        ({"route": ROUTE, "fault": {"delay": {"fixedDelay": "0s"}}}, "http[0].fault.delay.fixedDelay"),
        ({"route": ROUTE, "fault": {"delay": {"exponentialDelay": "1s"}}}, "http[0].fault.delay.exponentialDelay"),
        ({"route": ROUTE, "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": -1}}}}, "http[0].fault.delay.percentage.value"),
        ({"route": ROUTE, "fault": {"abort": {"percentage": {"value": 5}}}}, "http[0].fault.abort"),
        ({"route": ROUTE, "fault": {"abort": {"httpStatus": 600}}}, "http[0].fault.abort.httpStatus"),
        ({"route": ROUTE, "fault": {"abort": {"grpcStatus": "14"}}}, "http[0].fault.abort.grpcStatus"),
        ({"route": ROUTE, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 101}}}}, "http[0].fault.abort.percentage.value"),
        ({"route": ROUTE, "corsPolicy": {"allowOrigins": [{}]}}, "http[0].corsPolicy.allowOrigins[0]"),
        ({"route": ROUTE, "corsPolicy": {"allowOrigins": [{"regex": "("}]}}, "http[0].corsPolicy.allowOrigins[0].regex"),
        ({"route": ROUTE, "corsPolicy": {"allowMethods": ["GET", "A B"]}}, "http[0].corsPolicy.allowMethods[1]"),
        ({"route": ROUTE, "corsPolicy": {"allowHeaders": ["a\r\nb"]}}, "http[0].corsPolicy.allowHeaders[0]"),
        ({"route": ROUTE, "corsPolicy": {"exposeHeaders": ["a,b"]}}, "http[0].corsPolicy.exposeHeaders[0]"),
        ({"route": ROUTE, "corsPolicy": {"maxAge": "1.5s"}}, "http[0].corsPolicy.maxAge"),
        ({"route": ROUTE, "corsPolicy": {"maxAge": "-1s"}}, "http[0].corsPolicy.maxAge"),
        ({"redirect": {"redirectCode": 200}}, "http[0].redirect.redirectCode"),
        ({"redirect": {"uri": "/a", "prefixRewrite": "/b"}}, "http[0].redirect.prefixRewrite"),
        ({"redirect": {"scheme": "gopher"}}, "http[0].redirect.scheme"),
        ({"redirect": {"uri": "/a\r\nb"}}, "http[0].redirect.uri"),
        ({"directResponse": {"status": 99}}, "http[0].directResponse.status"),
        ({"directResponse": {"status": 200, "body": {"string": "x" * 4097}}}, "http[0].directResponse.body"),
        ({"route": ROUTE, "retries": {"attempts": -1}}, "http[0].retries.attempts"),
        ({"route": ROUTE, "retries": {"attempts": 1, "retryOn": "sometimes"}}, "http[0].retries.retryOn"),
        ({"route": ROUTE, "retries": {"attempts": 1, "backoff": "0s"}}, "http[0].retries.backoff"),
        ({"route": ROUTE, "rewrite": {"uri": "/a", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}}, "http[0].rewrite.uriRegexRewrite"),
        ({"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "a", "rewrite": r"\1"}}}, "http[0].rewrite.uriRegexRewrite.rewrite"),
        ({"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "(", "rewrite": ""}}}, "http[0].rewrite.uriRegexRewrite.match"),
        ({"route": ROUTE, "headers": {"request": {"set": {"host": "a"}}}}, "http[0].headers.request.set.host"),
        ({"route": ROUTE, "headers": {"request": {"set": {"a b": "a"}}}}, "http[0].headers.request.set.a b"),
        ({"route": ROUTE, "headers": {"request": {"set": {":path": "a"}}}}, "http[0].headers.request.set.:path"),
        ({"route": ROUTE, "headers": {"response": {"add": {"x": "50%"}}}}, "http[0].headers.response.add.x"),
        ({"route": ROUTE, "headers": {"response": {"add": {"x": "a\nb"}}}}, "http[0].headers.response.add.x"),
        ({"route": ROUTE, "headers": {"request": {"remove": ["content-length"]}}}, "http[0].headers.request.remove[0]"),
        ({"match": [{"uri": {}}], "route": ROUTE}, "http[0].match[0].uri"),
        ({"match": [{"uri": {"regex": "(?=a)"}}], "route": ROUTE}, "http[0].match[0].uri.regex"),
        ({"match": [{"uri": {"regex": r"(a)\1"}}], "route": ROUTE}, "http[0].match[0].uri.regex"),
        ({"match": [{"uri": {"regex": "["}}], "route": ROUTE}, "http[0].match[0].uri.regex"),
        ({"match": [{"uri": {"regex": "a"}, "ignoreUriCase": True}], "route": ROUTE}, "http[0].match[0].ignoreUriCase"),
        ({"match": [{"headers": {"a b": {"exact": "x"}}}], "route": ROUTE}, "http[0].match[0].headers.a b"),
        ({"match": [{"scheme": {"exact": "https"}}], "route": ROUTE}, "http[0].match[0].scheme"),
        ({"match": [{"port": 70000}], "route": ROUTE}, "http[0].match[0].port"),
        ({"match": [{"gateways": ["ingress"]}], "route": ROUTE}, "http[0].match[0].gateways[0]"),
        ({"route": [{"destination": {"host": "*.shop"}}]}, "http[0].route[0].destination.host"),
    ],
)  # fmt: skip
def test_bad_routes(http: dict[str, Any], path: str) -> None:
    assert path in paths(http)


@pytest.mark.parametrize("first", [{}, {"match": [{"uri": {"prefix": "/"}}]}, {"match": [{"name": "all"}]}])
def test_a_route_after_one_that_takes_everything_is_unreachable(first: dict[str, Any]) -> None:
    assert paths(first | {"route": ROUTE}, {"route": ROUTE}) == {"http[1]"}


@pytest.mark.parametrize("match", [{"method": {"exact": "GET"}}, {"uri": {"prefix": "/a"}}, {"headers": {"a": {}}}])
def test_a_route_after_one_with_conditions_is_reachable(match: dict[str, Any]) -> None:
    assert paths({"match": [match], "route": ROUTE}, {"route": ROUTE}) == set()


def tcp_paths(*tcp: dict[str, Any]) -> set[str]:
    try:
        virtual_service(HOST, tcp=list(tcp))
    except DocumentError as error:
        return {problem.path.removeprefix("spec.") for problem in error.problems}
    return set()


def test_a_virtual_service_may_have_tcp_routes_only() -> None:
    at_port = {"match": [{"port": 3306, "gateways": ["mesh"], "sourceNamespace": "shop"}], "route": ROUTE}
    assert tcp_paths(at_port, {"route": [ROUTE[0] | {"weight": 9}, ROUTE[0] | {"weight": 1}]}) == set()
    assert tcp_paths() == {"http"}


@pytest.mark.parametrize(
    ("tcp", "path"),
    [
        ({}, "tcp[0].route"),
        ({"route": [*ROUTE, *ROUTE]}, "tcp[0].route"),
        ({"route": [ROUTE[0] | {"weight": -1}]}, "tcp[0].route[0].weight"),
        ({"route": [{"destination": {"host": "*.shop"}}]}, "tcp[0].route[0].destination.host"),
        ({"route": ROUTE, "match": [{"port": 70000}]}, "tcp[0].match[0].port"),
        ({"route": ROUTE, "match": [{"gateways": ["ingress"]}]}, "tcp[0].match[0].gateways[0]"),
        ({"route": ROUTE, "match": [{"destinationSubnets": ["10.0.0.0/8"]}]}, "tcp[0].match[0].destinationSubnets"),
        ({"route": ROUTE, "match": [{"sourceSubnet": "10.0.0.0/8"}]}, "tcp[0].match[0].sourceSubnet"),
    ],
)
def test_bad_tcp_routes(tcp: dict[str, Any], path: str) -> None:
    assert tcp_paths(tcp) == {path}


@pytest.mark.parametrize("match", [[], [{"gateways": ["mesh"]}], [{"port": 80}, {}]])
def test_a_tcp_route_after_one_that_takes_everything_is_unreachable(match: list[dict[str, Any]]) -> None:
    assert tcp_paths({"match": match, "route": ROUTE}, {"route": ROUTE}) == {"tcp[1]"}
    assert tcp_paths({"match": [{"port": 80}], "route": ROUTE}, {"route": ROUTE}) == set()
