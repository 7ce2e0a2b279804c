"""Gateways: ports, hosts, TLS, and which VirtualServices are bound to them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.translation import LISTENER_TYPE, ROUTE_TYPE

EDGE = Scope(kind="gateway", labels=(("istio", "ingress"),))
PAIR = {"serverCertificate": "/c.pem", "privateKey": "/k.pem"}
SERVICES = [
    service("reviews.shop", "v1"), service("ratings.shop", "v1"),
    service("db.shop", "v1", port=3306, protocol="TCP", addresses=["240.0.0.1"]),
]  # fmt: skip


def server(number: int, protocol: str, *hosts: str, name: str = "", **fields: Any) -> dict[str, Any]:
    port = {"number": number, "name": name or f"{protocol.lower()}-{number}", "protocol": protocol}
    return {"port": port, "hosts": list(hosts or ("*",))} | fields


def gateway(*servers: dict[str, Any], name: str = "g", namespace: str = "default", **selector: str) -> ConfigObject:
    return make("Gateway", name, {"selector": selector, "servers": list(servers)}, namespace)


def to(host: str, **fields: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": host}}]} | fields


def route(
    host: str,
    *http: dict[str, Any],
    name: str = "r",
    gateways: tuple[str, ...] = ("g",),
    namespace: str = "default",
    **spec: Any,
) -> ConfigObject:
    listed = {"http": list(http)} if http else {}
    return make("VirtualService", name, {"hosts": [host], "gateways": list(gateways)} | listed | spec, namespace)


def translated(*objects: ConfigObject, scope: Scope = EDGE) -> Translation:
    model = admitted([*SERVICES, *objects]).model
    return translate(model, narrow(model, scope, InstanceIndex()))


def plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def listener(translation: Translation, name: str) -> Any:
    return plain(translation.messages[LISTENER_TYPE][name])


def hosts(translation: Translation, name: str) -> dict[str, list[str]]:
    """Of each domain where its routes lead."""
    found = plain(translation.messages[ROUTE_TYPE][name]).get("virtual_hosts", ())
    return {
        domain: [each.get("route", {}).get("cluster", "redirect") for each in host["routes"]]
        for host in found
        for domain in host["domains"]
    }


REVIEWS, RATINGS, DB = "outbound|8080||reviews.shop", "outbound|8080||ratings.shop", "outbound|3306||db.shop"


def test_a_gateway_takes_nothing_until_a_gateway_object_says_so() -> None:
    assert not translated(route("a.example", to("reviews.shop"))).messages[LISTENER_TYPE]


def test_plain_http() -> None:
    made = translated(gateway(server(80, "HTTP", "*.example")), route("a.example", to("reviews.shop")))
    manager = listener(made, "0.0.0.0_80")["filter_chains"][0]["filters"][0]["typed_config"]
    assert (manager["rds"]["route_config_name"], manager["use_remote_address"]) == ("http.80", True)
    assert hosts(made, "http.80") == {"a.example": [REVIEWS]}
    assert plain(made.messages[ROUTE_TYPE]["http.80"])["ignore_port_in_host_matching"]
    keys = [str(key) for key in made.origins[ROUTE_TYPE, "http.80"]]
    assert keys == ["Gateway default/g", "VirtualService default/r"]


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (route("a.example", to("reviews.shop"), gateways=("default/g",)), {"a.example": [REVIEWS]}),
        (route("a.example", to("reviews.shop"), gateways=("other/g",)), {}),
        (route("a.example", to("reviews.shop"), gateways=("mesh",)), {}),
        (route("a.example", to("reviews.shop"), namespace="other"), {}),
        (route("a.example", to("reviews.shop"), namespace="other", gateways=("default/g",)), {"a.example": [REVIEWS]}),
        (route("a.example", to("reviews.shop"), namespace="other", gateways=("default/g",), exportTo=["."]), {}),
        (route("a.other", to("reviews.shop")), {}),
        (route("*", to("reviews.shop")), {"*.example": [REVIEWS]}),
        (route("*.b.example", to("reviews.shop")), {"*.b.example": [REVIEWS]}),
    ],
)
def test_which_routes_are_bound(bound: ConfigObject, expected: dict[str, list[str]]) -> None:
    assert hosts(translated(gateway(server(80, "HTTP", "*.example")), bound), "http.80") == expected


@pytest.mark.parametrize(
    ("host", "taken"), [("*/a.example", True), ("./a.example", False), ("other/*", True), ("third/a.example", False)]
)
def test_a_server_says_whose_routes_may_be_bound_to_its_hosts(host: str, taken: bool) -> None:
    bound = route("a.example", to("reviews.shop"), namespace="other", gateways=("default/g",))
    assert bool(hosts(translated(gateway(server(80, "HTTP", host)), bound), "http.80")) == taken


def test_routes_of_one_host_follow_each_other_up_to_one_that_takes_everything() -> None:
    first = route("a.example", {"match": [{"uri": {"prefix": "/r"}}]} | to("ratings.shop"), name="a")
    second = route("a.example", to("reviews.shop"), name="b")
    third = route("a.example", to("ratings.shop"), name="c")
    made = translated(gateway(server(80, "HTTP")), first, second, third)
    assert hosts(made, "http.80") == {"a.example": [RATINGS, REVIEWS]}
    assert [(problem.origin, problem.path) for problem in made.problems] == [
        ("c.yaml#1 (VirtualService default/c)", "spec.http")
    ]


def test_gateways_of_several_objects_share_a_port() -> None:
    made = translated(
        gateway(server(80, "HTTP", "a.example")), gateway(server(80, "HTTP", "b.example"), name="h"),
        route("a.example", to("reviews.shop")), route("b.example", to("ratings.shop"), name="s", gateways=("h",)),
    )  # fmt: skip
    assert hosts(made, "http.80") == {"a.example": [REVIEWS], "b.example": [RATINGS]}


def test_a_gateway_is_opened_on_the_proxies_that_it_selects() -> None:
    assert "0.0.0.0_80" in translated(gateway(server(80, "HTTP"), istio="ingress")).messages[LISTENER_TYPE]
    assert "0.0.0.0_80" not in translated(gateway(server(80, "HTTP"), istio="egress")).messages[LISTENER_TYPE]
    sidecar = Scope(labels=EDGE.labels)
    assert (
        "0.0.0.0_80"
        not in translated(gateway(server(80, "HTTP"), istio="ingress"), scope=sidecar).messages[LISTENER_TYPE]
    )


def test_matches_may_be_for_some_gateways() -> None:
    at_gateway = {"match": [{"gateways": ["g"]}]} | to("ratings.shop")
    both = route("reviews.shop", at_gateway, to("reviews.shop"), gateways=("g", "mesh"))
    objects = [gateway(server(80, "HTTP")), both]
    assert hosts(translated(*objects), "http.80") == {"reviews.shop": [RATINGS]}
    assert hosts(translated(*objects, scope=Scope()), "8080")["reviews.shop"] == [REVIEWS]


def test_redirects_to_https_stand_before_routes() -> None:
    redirected = server(80, "HTTP", "a.example", tls={"httpsRedirect": True})
    made = translated(gateway(redirected), route("a.example", to("reviews.shop")))
    (host,) = plain(made.messages[ROUTE_TYPE]["http.80"])["virtual_hosts"]
    assert [each["redirect"] for each in host["routes"]] == [{"https_redirect": True}]


def secure(*hosts: str, mode: str = "SIMPLE", number: int = 443, protocol: str = "HTTPS", **tls: Any) -> dict[str, Any]:
    files = {} if mode == "PASSTHROUGH" else PAIR
    return server(number, protocol, *hosts, name=hosts[0].replace("*", "any"), tls={"mode": mode} | files | tls)


def test_https() -> None:
    made = translated(
        gateway(secure("a.example"), secure("*", mode="MUTUAL", caCertificates="/ca.pem", subjectAltNames=["me"])),
        route("a.example", to("reviews.shop")),
    )  # fmt: skip
    first, second = listener(made, "0.0.0.0_443")["filter_chains"]
    assert first["filter_chain_match"] == {"server_names": ["a.example"]}
    context = first["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["alpn_protocols"] == ["h2", "http/1.1"]
    assert context["tls_certificates"] == [
        {"certificate_chain": {"filename": "/c.pem"}, "private_key": {"filename": "/k.pem"}}
    ]
    assert second.get("filter_chain_match", {}) == {}
    assert second["transport_socket"]["typed_config"]["require_client_certificate"] is True
    assert set(made.messages[ROUTE_TYPE]) == {"https.443.a.example.g.default", "https.443.any.g.default"}
    assert hosts(made, "https.443.a.example.g.default") == {"a.example": [REVIEWS]}


def test_certificates_may_be_secrets() -> None:
    tls = {"mode": "MUTUAL", "credentialName": "shop", "subjectAltNames": ["me"]}
    made = translated(gateway(server(443, "HTTPS", "a.example", tls=tls)), route("a.example", to("reviews.shop")))
    (chain,) = listener(made, "0.0.0.0_443")["filter_chains"]
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]
    source = {"ads": {}, "resource_api_version": "V3"}
    assert context["tls_certificate_sds_secret_configs"] == [{"name": "shop", "sds_config": source}]
    combined = context["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"] == {"name": "shop-cacert", "sds_config": source}
    assert len(combined["default_validation_context"]["match_typed_subject_alt_names"]) == 2
    assert "tls_certificates" not in context


def test_a_server_name_goes_to_the_first_that_has_it() -> None:
    made = translated(gateway(secure("a.example", "b.example")), gateway(secure("a.example", "c.example"), name="h"))
    names = [chain["filter_chain_match"]["server_names"] for chain in listener(made, "0.0.0.0_443")["filter_chains"]]
    assert names == [["a.example", "b.example"], ["c.example"]]
    assert [(problem.path, "a.example" in problem.message) for problem in made.problems] == [
        ("spec.servers[0].hosts", True)
    ]


def tls_route(*names: str, host: str, name: str = "t", **match: Any) -> ConfigObject:
    return route("*.example", name=name, tls=[{"match": [{"sniHosts": list(names)} | match]} | to(host)])


def test_tls_is_passed_through_by_server_name() -> None:
    made = translated(
        gateway(secure("*.example", mode="PASSTHROUGH", protocol="TLS")),
        tls_route("a.example", "*.b.example", host="db.shop"),
        tls_route("a.example", "c.example", host="db.shop", name="u", port=443),
        tls_route("d.example", host="db.shop", name="v", port=444),
    )  # fmt: skip
    chains = listener(made, "0.0.0.0_443")["filter_chains"]
    assert [chain["filter_chain_match"]["server_names"] for chain in chains] == [
        ["a.example"],
        ["*.b.example"],
        ["c.example"],
    ]
    assert {chain["filters"][0]["typed_config"]["cluster"] for chain in chains} == {DB}
    assert all("transport_socket" not in chain for chain in chains)
    assert len(made.problems) == 1


def test_tls_may_end_before_bytes_are_carried() -> None:
    bound = route("*", tcp=[to("db.shop")])
    (chain,) = listener(translated(gateway(secure("db.example", protocol="TLS")), bound), "0.0.0.0_443")[
        "filter_chains"
    ]
    assert chain["filters"][0]["typed_config"]["cluster"] == DB
    assert "alpn_protocols" not in chain["transport_socket"]["typed_config"]["common_tls_context"]


def test_tcp() -> None:
    bound = route("*", tcp=[{"match": [{"port": 1}]} | to("db.shop"), {
        "route": [{"destination": {"host": "db.shop"}, "weight": 1}, {"destination": {"host": "db.shop"}, "weight": 3}],
    }])  # fmt: skip
    (chain,) = listener(translated(gateway(server(3306, "TCP")), bound), "0.0.0.0_3306")["filter_chains"]
    clusters = chain["filters"][0]["typed_config"]["weighted_clusters"]["clusters"]
    assert clusters == [{"name": DB, "weight": 1}, {"name": DB, "weight": 3}]
    assert "0.0.0.0_3306" not in translated(gateway(server(3306, "TCP"))).messages[LISTENER_TYPE]


def test_of_two_protocols_on_a_port_the_first_stays() -> None:
    made = translated(
        gateway(server(80, "HTTP")),
        gateway(server(80, "TCP"), name="h"),
        route("*", tcp=[to("db.shop")], gateways=("h",)),
    )
    assert "rds" in listener(made, "0.0.0.0_80")["filter_chains"][0]["filters"][0]["typed_config"]
    assert [problem.path for problem in made.problems] == ["spec.servers[0].port.protocol"]


def test_a_server_may_have_an_address_of_its_own() -> None:
    made = translated(gateway(server(80, "HTTP", bind="127.0.0.7"), server(80, "HTTP", name="b")))
    assert set(made.messages[LISTENER_TYPE]) == {"127.0.0.7_80", "0.0.0.0_80"}
    assert set(made.messages[ROUTE_TYPE]) == {"http.80", "http.80.127.0.0.7"}


def test_policies_and_faults() -> None:
    policy = make(
        "AuthorizationPolicy", "p", {"selector": {"matchLabels": {"istio": "ingress"}}, "action": "DENY", "rules": [{}]}
    )
    fault = {"fault": {"abort": {"httpStatus": 500}}}
    made = translated(policy, gateway(server(80, "HTTP")), route("*", to("reviews.shop", **fault)))
    manager = listener(made, "0.0.0.0_80")["filter_chains"][0]["filters"][0]["typed_config"]
    assert [each["name"] for each in manager["http_filters"]] == [
        "envoy.filters.http.rbac", "envoy.filters.http.fault", "envoy.filters.http.router",
    ]  # fmt: skip


def test_routes_tell_clients_apart_by_label() -> None:
    labelled = {"match": [{"sourceLabels": {"app": "a"}}]} | to("ratings.shop")
    bound = route("reviews.shop", labelled, to("reviews.shop"), gateways=("mesh",))
    for labels, expected in (((("app", "a"), ("pod", "1")), [RATINGS]), ((("app", "b"),), [REVIEWS]), ((), [REVIEWS])):
        assert hosts(translated(bound, scope=Scope(labels=labels)), "8080")["reviews.shop"] == expected


def test_tcp_routes_tell_clients_apart_by_label() -> None:
    targets = [{"destination": {"host": "db.shop"}, "weight": weight} for weight in (1, 2)]
    bound = route("db.shop", gateways=("mesh",), tcp=[{"match": [{"sourceLabels": {"app": "a"}}], "route": targets}])
    for labels, split in (((("app", "a"),), True), ((), False)):
        made = translated(bound, scope=Scope(labels=labels))
        config = listener(made, "240.0.0.1_3306")["filter_chains"][0]["filters"][0]["typed_config"]
        assert ("weighted_clusters" in config) == split
