"""Which virtual host and route take a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from google.protobuf.json_format import ParseDict

from isthmus_controlplane.translate.routing import Request, best_host, taken_by

HOSTS = [
    VirtualHost(name="rest", domains=["*"]),
    VirtualHost(name="exact", domains=["a.shop", "b.shop"]),
    VirtualHost(name="suffix", domains=["*.shop"]),
    VirtualHost(name="longer", domains=["*.eu.shop"]),
    VirtualHost(name="prefix", domains=["api.*"]),
]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.shop", "exact"),
        ("B.SHOP", "exact"),
        ("c.shop", "suffix"),
        ("x.eu.shop", "longer"),
        ("api.shop", "suffix"),
        ("api.example", "prefix"),
        ("elsewhere", "rest"),
    ],
)
def test_the_best_domain_wins(host: str, name: str) -> None:
    assert best_host(HOSTS, host).name == name


def test_no_domain_no_host() -> None:
    assert best_host(HOSTS[1:2], "x") is None


def exact(name: str, value: str, **more: object) -> dict[str, object]:
    return {"name": name, "string_match": {"exact": value}, **more}


@pytest.mark.parametrize(
    ("match", "path", "headers", "taken"),
    [
        ({"prefix": "/a"}, "/ab?x", {}, True),
        ({"prefix": "/a"}, "/b", {}, False),
        ({"prefix": "/A", "case_sensitive": False}, "/ab", {}, True),
        ({"path": "/a"}, "/a?x=1", {}, True),
        ({"path": "/a"}, "/a/", {}, False),
        ({"path_separated_prefix": "/a"}, "/a/b", {}, True),
        ({"path_separated_prefix": "/a"}, "/ab", {}, False),
        ({"safe_regex": {"regex": "/a[0-9]+"}}, "/a12", {}, True),
        ({"safe_regex": {"regex": "/a[0-9]+"}}, "/a12/", {}, False),
        ({"safe_regex": {"regex": "("}}, "(", {}, False),
        ({"connect_matcher": {}}, "/", {}, False),
        ({"prefix": "/", "headers": [exact("x-user", "jo")]}, "/", {"x-user": "jo"}, True),
        ({"prefix": "/", "headers": [exact("X-User", "jo")]}, "/", {"x-user": "jo"}, True),
        ({"prefix": "/", "headers": [exact("x-user", "jo")]}, "/", {}, False),
        ({"prefix": "/", "headers": [exact("x-user", "jo", invert_match=True)]}, "/", {"x-user": "al"}, True),
        ({"prefix": "/", "headers": [exact("x", "", treat_missing_header_as_empty=True)]}, "/", {}, True),
        ({"prefix": "/", "headers": [{"name": "x", "present_match": True}]}, "/", {"x": ""}, True),
        ({"prefix": "/", "headers": [{"name": "x", "present_match": False}]}, "/", {}, True),
        ({"prefix": "/", "headers": [{"name": "x", "range_match": {"start": 1, "end": 5}}]}, "/", {"x": "4"}, True),
        ({"prefix": "/", "headers": [{"name": "x", "range_match": {"start": 1, "end": 5}}]}, "/", {"x": "5"}, False),
        ({"prefix": "/", "headers": [{"name": "x"}]}, "/", {}, False),
        ({"prefix": "/", "headers": [exact(":method", "GET")]}, "/", {}, True),
        ({"prefix": "/", "headers": [exact(":method", "POST")]}, "/", {}, False),
        ({"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "a"}}]}, "/", {"x": "ab"}, True),
        ({"prefix": "/", "headers": [{"name": "x", "string_match": {"suffix": "B", "ignore_case": True}}]}, "/", {"x": "ab"}, True),
        ({"prefix": "/", "headers": [{"name": "x", "string_match": {"contains": "c"}}]}, "/", {"x": "ab"}, False),
        ({"prefix": "/", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "a."}}}]}, "/", {"x": "ab"}, True),
        ({"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "/?q=1", {}, True),
        ({"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "/?q=2", {}, False),
        ({"prefix": "/", "query_parameters": [{"name": "q", "present_match": True}]}, "/?q", {}, True),
        ({"prefix": "/", "query_parameters": [{"name": "q", "present_match": True}]}, "/", {}, False),
    ],
)  # fmt: skip
def test_matches(match: dict[str, Any], path: str, headers: Mapping[str, str], taken: bool) -> None:
    route = ParseDict({"match": match}, Route())
    assert bool(list(taken_by([route], Request("a.shop", path, headers=headers)))) is taken


def test_conditions_leave_the_next_route_its_chance() -> None:
    share: dict[str, Any] = {"default_value": {"numerator": 25}}
    routes = [
        ParseDict({"match": {"prefix": "/x"}}, Route()),
        ParseDict({"match": {"prefix": "/", "runtime_fraction": share}}, Route()),
        ParseDict({"match": {"prefix": "/"}}, Route()),
        ParseDict({"match": {"prefix": "/"}}, Route()),
    ]
    found = [(each.position, each.conditions) for each in taken_by(routes, Request("a"))]
    assert found == [(1, ("25 of 100 requests",)), (2, ())]
