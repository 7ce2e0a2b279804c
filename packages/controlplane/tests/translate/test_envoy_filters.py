"""Patches of EnvoyFilters on what is generated."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Memo, Translation, translate, translate_instances
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE

SERVICES = [
    service("a.shop", "v1"),
    service("b.shop", "v1", port=81),
    service("db.shop", "v1", port=3306, protocol="TCP"),
]
INSTANCE = Scope(addresses=("10.0.0.1",), labels=(("app", "a"),))
EDGE = Scope(kind="gateway")
GATEWAY = make("Gateway", "g", {"servers": [{"port": {"number": 80, "name": "h", "protocol": "HTTP"}, "hosts": ["*"]}]})
BOUND = make(
    "VirtualService",
    "g",
    {"hosts": ["*"], "gateways": ["g"], "http": [{"route": [{"destination": {"host": "a.shop"}}]}]},
)
MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
CORS = {"name": "extra", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}}


def envoy_filter(
    kind: str,
    operation: str,
    value: Any = None,
    *,
    name: str = "f",
    namespace: str = "default",
    spec: Any = None,
    **match: Any,
) -> ConfigObject:
    patch = {"operation": operation} | ({"value": value} if value is not None else {})
    return make(
        "EnvoyFilter",
        name,
        {"configPatches": [{"applyTo": kind, "match": match, "patch": patch}]} | (spec or {}),
        namespace,
    )


def translated(*objects: ConfigObject, scope: Scope | None = None) -> Translation:
    model = admitted([*SERVICES, GATEWAY, BOUND, *objects]).model
    index = InstanceIndex()
    index.follow(model.services)
    return translate(model, narrow(model, scope or Scope(), index))


def plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def resource(translation: Translation, type_url: str, name: str) -> Any:
    return plain(translation.messages[type_url][name])


TIMEOUT = {"connect_timeout": "3s"}


def patched(translation: Translation) -> set[str]:
    return {
        name
        for name, message in translation.messages[CLUSTER_TYPE].items()
        if plain(message).get("connect_timeout") == "3s"
    }


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"cluster": {"name": "outbound|8080||a.shop"}}, {"outbound|8080||a.shop"}),
        ({"cluster": {"service": "b.shop"}}, {"outbound|81||b.shop"}),
        ({"cluster": {"portNumber": 3306}}, {"outbound|3306||db.shop"}),
        ({"context": "SIDECAR_INBOUND"}, {"inbound|9000||"}),
        ({"context": "GATEWAY"}, set()),
        ({"cluster": {"service": "a.shop", "portNumber": 1}}, set()),
    ],
)
def test_clusters(match: dict[str, Any], expected: set[str]) -> None:
    assert patched(translated(envoy_filter("CLUSTER", "MERGE", TIMEOUT, **match), scope=INSTANCE)) == expected


def test_clusters_come_and_go() -> None:
    cluster = {"name": "extra", "type": "STATIC"} | TIMEOUT
    added = translated(envoy_filter("CLUSTER", "ADD", cluster, context="SIDECAR_OUTBOUND"))
    assert patched(added) == {"extra"}
    assert [str(key) for key in added.origins[CLUSTER_TYPE, "extra"]] == ["EnvoyFilter default/f"]
    assert not patched(translated(envoy_filter("CLUSTER", "ADD", cluster, context="GATEWAY")))
    removed = translated(envoy_filter("CLUSTER", "REMOVE", cluster={"service": "a.shop"}))
    assert "outbound|8080||a.shop" not in removed.messages[CLUSTER_TYPE]


@pytest.mark.parametrize(
    ("selected", "namespace", "holds"),
    [({}, "default", True), ({"app": "a"}, "default", True), ({"app": "b"}, "default", False), ({}, "other", False),
     ({"app": "a"}, "istio-system", True)],
)  # fmt: skip
def test_which_workloads(selected: dict[str, str], namespace: str, holds: bool) -> None:
    spec = {"workloadSelector": {"labels": selected}} if selected else {}
    patch = envoy_filter("CLUSTER", "MERGE", TIMEOUT, namespace=namespace, spec=spec, cluster={"service": "b.shop"})
    assert bool(patched(translated(patch, scope=INSTANCE))) == holds


def test_later_patches_and_higher_priorities_win() -> None:
    first = envoy_filter("CLUSTER", "MERGE", {"connect_timeout": "1s"}, name="a", spec={"priority": 5})
    second = envoy_filter("CLUSTER", "MERGE", TIMEOUT, name="b")
    assert not patched(translated(first, second))
    assert patched(translated(second, envoy_filter("CLUSTER", "MERGE", TIMEOUT, name="z", spec={"priority": 6}), first))


def test_instances_of_patched_clusters_change_as_others_do() -> None:
    memo, patch = Memo(), envoy_filter("CLUSTER", "MERGE", TIMEOUT, cluster={"service": "a.shop"})
    before = admitted([*SERVICES, patch])
    first = translate(before.model, Scope(), memo)
    after = admitted([service("a.shop", "v1", "v2"), *SERVICES[1:], patch], before)
    second = translate_instances(after.model, Scope(), memo, first, ["a.shop"])
    assert second.messages == translate(after.model, Scope()).messages
    assert second.origins == translate(after.model, Scope()).origins
    assert second.messages[CLUSTER_TYPE] is first.messages[CLUSTER_TYPE]


def http_filters(translation: Translation, name: str = "0.0.0.0_8080", chain: int = 0) -> list[str]:
    (manager,) = resource(translation, LISTENER_TYPE, name)["filter_chains"][chain]["filters"]
    return [each["name"] for each in manager["typed_config"]["http_filters"]]


def beside(name: str) -> dict[str, Any]:
    return {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": name}}}}


@pytest.mark.parametrize(
    ("operation", "where", "expected"),
    [
        ("INSERT_BEFORE", beside(ROUTER), ["extra", ROUTER]),
        ("INSERT_AFTER", beside("envoy.filters.http.fault"), [ROUTER]),
        ("INSERT_FIRST", {}, ["extra", ROUTER]),
        ("ADD", {}, ["extra", ROUTER]),
        ("REPLACE", beside(ROUTER), ["extra"]),
        ("INSERT_BEFORE", beside(ROUTER) | {"portNumber": 8080}, ["extra", ROUTER]),
        ("INSERT_BEFORE", beside(ROUTER) | {"portNumber": 81}, [ROUTER]),
        ("INSERT_BEFORE", beside(ROUTER) | {"name": "0.0.0.0_81"}, [ROUTER]),
    ],
)
def test_http_filters(operation: str, where: dict[str, Any], expected: list[str]) -> None:
    made = translated(envoy_filter("HTTP_FILTER", operation, CORS, context="SIDECAR_OUTBOUND", listener=where))
    assert http_filters(made) == expected


def test_http_filters_of_one_port_of_the_application() -> None:
    for number, expected in ((9000, ["extra", ROUTER]), (9001, [ROUTER])):
        where = beside(ROUTER) | {"portNumber": number}
        patch = envoy_filter("HTTP_FILTER", "INSERT_BEFORE", CORS, context="SIDECAR_INBOUND", listener=where)
        made = translated(patch, scope=INSTANCE)
        assert http_filters(made, "virtualInbound", 1) == expected
        assert http_filters(made) == [ROUTER]


def test_filters_merge_inside_their_configuration() -> None:
    value = {"name": MANAGER, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "common_http_protocol_options": {"idle_timeout": "7s"}, "normalize_path": False,
    }}  # fmt: skip
    patch = envoy_filter(
        "NETWORK_FILTER", "MERGE", value, context="GATEWAY", listener={"filterChain": {"filter": {"name": MANAGER}}}
    )
    made = translated(patch, scope=EDGE)
    manager = resource(made, LISTENER_TYPE, "0.0.0.0_80")["filter_chains"][0]["filters"][0]["typed_config"]
    assert (manager["common_http_protocol_options"], manager["normalize_path"]) == ({"idle_timeout": "7s"}, False)
    assert manager["rds"]["route_config_name"] == "http.80"
    assert "EnvoyFilter default/f" in map(str, made.origins[LISTENER_TYPE, "0.0.0.0_80"])


def test_network_filters_stand_before_the_last() -> None:
    value = {"name": "limit", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "stat_prefix": "l", "max_connections": 7,
    }}  # fmt: skip
    for operation in ("ADD", "INSERT_FIRST"):
        made = translated(envoy_filter("NETWORK_FILTER", operation, value, listener={"portNumber": 3306}))
        (chain,) = resource(made, LISTENER_TYPE, "0.0.0.0_3306")["filter_chains"]
        assert [each["name"] for each in chain["filters"]] == ["limit", "envoy.filters.network.tcp_proxy"]


def test_listeners_and_chains() -> None:
    where = {"name": "0.0.0.0_81"}
    made = translated(envoy_filter("LISTENER", "MERGE", {"per_connection_buffer_limit_bytes": 1024}, listener=where))
    assert resource(made, LISTENER_TYPE, "0.0.0.0_81")["per_connection_buffer_limit_bytes"] == 1024
    assert "per_connection_buffer_limit_bytes" not in resource(made, LISTENER_TYPE, "0.0.0.0_8080")
    assert "0.0.0.0_81" not in translated(envoy_filter("LISTENER", "REMOVE", listener=where)).messages[LISTENER_TYPE]
    listener = {"name": "extra", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}
    assert "extra" in translated(envoy_filter("LISTENER", "ADD", listener)).messages[LISTENER_TYPE]
    made = translated(envoy_filter("FILTER_CHAIN", "MERGE", {"name": "renamed"}, listener=where))
    assert resource(made, LISTENER_TYPE, "0.0.0.0_81")["filter_chains"][0]["name"] == "renamed"
    chain = {"filterChain": {"name": "virtualInbound-catchall"}}
    made = translated(envoy_filter("FILTER_CHAIN", "REMOVE", listener=chain), scope=INSTANCE)
    names = [chain["name"] for chain in resource(made, LISTENER_TYPE, "virtualInbound")["filter_chains"]]
    assert names == ["virtualInbound-blackhole", "0.0.0.0_9000"]


def virtual_hosts(translation: Translation, name: str = "8080") -> dict[str, list[str]]:
    hosts = resource(translation, ROUTE_TYPE, name)["virtual_hosts"]
    return {host["name"]: [route.get("name", "") for route in host.get("routes", ())] for host in hosts}


def test_routes() -> None:
    routes = virtual_service("a.shop", {"name": "first", "match": [{"uri": {"prefix": "/a"}}], "redirect": {"uri": "/b"}},
                             {"name": "second", "route": [{"destination": {"host": "a.shop"}}]})  # fmt: skip
    added = {"name": "added", "match": {"prefix": "/x"}, "direct_response": {"status": 204}}

    def hosts(kind: str, operation: str, value: Any = None, **vhost: Any) -> dict[str, list[str]]:
        where = {"portNumber": 8080, "vhost": vhost}
        return virtual_hosts(translated(routes, envoy_filter(kind, operation, value, routeConfiguration=where)))

    block = {"block_all": ["block_all"]}
    own = {"name": "a.shop:8080"}
    assert hosts("HTTP_ROUTE", "INSERT_FIRST", added, **own) == {"a.shop:8080": ["added", "first", "second"]} | block
    after = hosts("HTTP_ROUTE", "INSERT_AFTER", added, domainName="a.shop", route={"name": "first"})
    assert after == {"a.shop:8080": ["first", "added", "second"]} | block
    assert (
        hosts("HTTP_ROUTE", "REMOVE", None, **own, route={"action": "REDIRECT"}) == {"a.shop:8080": ["second"]} | block
    )
    assert (
        hosts("HTTP_ROUTE", "MERGE", {"name": "x"}, **own, route={"action": "ROUTE"})
        == {"a.shop:8080": ["first", "x"]} | block
    )
    assert hosts("VIRTUAL_HOST", "REMOVE", None, name="block_all") == {"a.shop:8080": ["first", "second"]}
    assert "more" in hosts("VIRTUAL_HOST", "ADD", {"name": "more", "domains": ["more.shop"]})


def test_route_configurations() -> None:
    value = {"request_headers_to_remove": ["x-a"]}
    made = translated(
        envoy_filter("ROUTE_CONFIGURATION", "MERGE", value, routeConfiguration={"name": "http.80"}), scope=EDGE
    )
    assert resource(made, ROUTE_TYPE, "http.80")["request_headers_to_remove"] == ["x-a"]
    made = translated(envoy_filter("ROUTE_CONFIGURATION", "MERGE", value, context="SIDECAR_INBOUND"))
    assert "request_headers_to_remove" not in resource(made, ROUTE_TYPE, "8080")


def test_the_generated_messages_of_others_stay_as_they_were() -> None:
    memo = Memo()
    model = admitted(SERVICES).model
    before = translate(model, Scope(), memo)
    copies = {name: plain(message) for name, message in before.messages[CLUSTER_TYPE].items()}
    translate(admitted([*SERVICES, envoy_filter("CLUSTER", "MERGE", TIMEOUT)]).model, Scope(), memo)
    assert {name: plain(message) for name, message in before.messages[CLUSTER_TYPE].items()} == copies
