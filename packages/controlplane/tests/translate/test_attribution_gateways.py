"""Rejections by gateways, led to the routes that are bound there."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.attribution import Rejected, causes
from isthmus_controlplane.translate.route_sources import route_sources
from isthmus_controlplane.translate.translation import ROUTE_TYPE

SCOPE = Scope(kind="gateway", labels=(("istio", "edge"),))
TO = {"route": [{"destination": {"host": "reviews.shop"}}]}
PAIR = {"mode": "SIMPLE", "serverCertificate": "/c.pem", "privateKey": "/k.pem"}
BACKEND = {"group": "networking.istio.io", "kind": "Hostname", "name": "reviews.shop", "port": 8080}
GATEWAY = make("Gateway", "edge", {"selector": {"istio": "edge"}, "servers": [
    {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*.example"]},
    {"port": {"number": 443, "name": "one", "protocol": "HTTPS"}, "hosts": ["a.example"], "tls": PAIR},
    {"port": {"number": 443, "name": "two", "protocol": "HTTPS"}, "hosts": ["b.example"], "tls": PAIR},
    {"port": {"number": 443, "name": "wide", "protocol": "HTTPS"}, "hosts": ["*.example"], "tls": PAIR},
]})  # fmt: skip


def bound(name: str, hosts: list[str], *http: dict[str, Any]) -> Any:
    return make("VirtualService", name, {"hosts": hosts, "gateways": ["edge"], "http": list(http)})


FIRST = bound("first", ["a.example"], {"match": [{"uri": {"prefix": "/x"}}, {"uri": {"prefix": "/y"}}]} | TO)
SECOND = bound("second", ["a.example", "b.example"], {"match": [{"uri": {"prefix": "/z"}}]} | TO, TO)
API = make("HTTPRoute", "api", {
    "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}], "hostnames": ["c.example"],
    "rules": [
        {"matches": [{"path": {"type": "Exact", "value": "/p"}}, {"path": {"value": "/q"}}], "backendRefs": [BACKEND]},
    ],
})  # fmt: skip
OBJECTS = [service("reviews.shop", "v1"), GATEWAY, FIRST, SECOND, API]


def told(name: str, error: str, changed: dict[Any, int] | None = None) -> list[str]:
    model = admitted(OBJECTS).model
    translation = translate(model, SCOPE)
    rejected = Rejected(
        ROUTE_TYPE, (name,), error, translation.messages[ROUTE_TYPE], translation.origins,
        {each.key: each for each in OBJECTS}, functools.partial(route_sources, model, SCOPE), changed or {},
    )  # fmt: skip
    return [str(cause) for cause in causes(rejected)]


@pytest.mark.parametrize(
    ("name", "host", "route", "wanted"),
    [
        ("http.80", 0, 0, f"{FIRST.key} spec.http[0].match[0]"),
        ("http.80", 0, 1, f"{FIRST.key} spec.http[0].match[1]"),
        ("http.80", 0, 2, f"{SECOND.key} spec.http[0].match[0]"),
        ("http.80", 0, 3, f"{SECOND.key} spec.http[1]"),
        ("http.80", 1, 0, f"{SECOND.key} spec.http[0].match[0]"),
        ("http.80", 2, 0, f"{API.key} spec.rules[0].matches[0]"),
        ("http.80", 2, 1, f"{API.key} spec.rules[0].matches[1]"),
        ("https.443.one.edge.default", 0, 2, f"{SECOND.key} spec.http[0].match[0]"),
        ("https.443.two.edge.default", 0, 0, f"{SECOND.key} spec.http[0].match[0]"),
        ("https.443.two.edge.default", 0, 1, f"{SECOND.key} spec.http[1]"),
    ],
)
def test_places_lead_to_the_part_of_a_route(name: str, host: int, route: int, wanted: str) -> None:
    assert told(name, f"field:virtual_hosts[{host}].routes[{route}].route error:no") == [wanted]


def test_a_virtual_host_leads_to_all_that_are_bound_to_its_host() -> None:
    assert told("http.80", "VirtualHosts[0]: no") == [str(FIRST.key), str(SECOND.key)]
    assert told("http.80", "virtual_hosts[2].routes[99]: no") == [str(API.key)]


def test_values_lead_to_fields() -> None:
    assert told("http.80", "bad path '/q'") == [f"{API.key} spec.rules[0].matches[1].path.value"]


def test_without_words_to_go_by_it_is_the_routes_and_not_their_gateway() -> None:
    routes = sorted(str(each.key) for each in (FIRST, SECOND, API))
    assert told("http.80", "no") == routes
    assert told("http.80", "no", {GATEWAY.key: 2, SECOND.key: 2, FIRST.key: 1}) == [str(SECOND.key)]
    assert told("http.80", "no", {GATEWAY.key: 3, SECOND.key: 2}) == [str(GATEWAY.key)], "nothing else changed"


def test_each_route_has_a_source() -> None:
    model = admitted(OBJECTS).model
    for name, configuration in translate(model, SCOPE).messages[ROUTE_TYPE].items():
        made: Any = configuration
        for each in made.virtual_hosts:
            host, _, port = each.name.rpartition(":")
            assert len(list(route_sources(model, SCOPE, name, host, int(port)))) == len(each.routes)
