"""Clusters and load assignments."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE

HOST = "reviews.shop"


def translated(*objects: ConfigObject, scope: Scope | None = None, mesh: MeshSettings | None = None) -> Translation:
    return translate(admitted(objects, mesh=mesh).model, scope or Scope())


def cluster(translation: Translation, subset: str = "", port: int = 8080, host: str = HOST) -> Any:
    return translation.messages[CLUSTER_TYPE][f"outbound|{port}|{subset}|{host}"]


def addresses(translation: Translation, subset: str = "") -> list[str]:
    assignment: Any = translation.messages[ENDPOINT_TYPE][f"outbound|8080|{subset}|{HOST}"]
    return [
        each.endpoint.address.socket_address.address for group in assignment.endpoints for each in group.lb_endpoints
    ]


def test_a_static_service_is_an_eds_cluster_with_istios_name_and_defaults() -> None:
    made = MessageToDict(cluster(translated(service(HOST, "v1"))), preserving_proto_field_name=True)
    limit = 2**32 - 1
    assert made == {
        "name": f"outbound|8080||{HOST}",
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "resource_api_version": "V3"},
            "service_name": f"outbound|8080||{HOST}",
        },
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": limit, "max_pending_requests": limit, "max_requests": limit, "max_retries": limit}
            ]
        },
    }


def test_an_assignment_has_ports_weights_health_and_locality_weights() -> None:
    endpoints = [
        {"address": "10.0.0.2", "ports": {"main": 9000}, "locality": "eu/west/1", "weight": 5},
        {"address": "10.0.0.1", "locality": "eu/west/1"},
        {"address": "10.0.0.3"},
    ]
    translation = translated(service(HOST, endpoints=endpoints))
    assignment = translation.messages[ENDPOINT_TYPE][f"outbound|8080||{HOST}"]

    def endpoint(address: str, port: int, weight: int) -> dict[str, Any]:
        where = {"address": {"socket_address": {"address": address, "port_value": port}}}
        return {"endpoint": where, "health_status": "HEALTHY", "load_balancing_weight": weight}

    assert MessageToDict(assignment, preserving_proto_field_name=True) == {
        "cluster_name": f"outbound|8080||{HOST}",
        "endpoints": [
            {"locality": {}, "lb_endpoints": [endpoint("10.0.0.3", 8080, 1)], "load_balancing_weight": 1},
            {
                "locality": {"region": "eu", "zone": "west", "sub_zone": "1"},
                "lb_endpoints": [endpoint("10.0.0.1", 8080, 1), endpoint("10.0.0.2", 9000, 5)],
                "load_balancing_weight": 6,
            },
        ],
    }


def test_the_target_port_is_where_endpoints_serve() -> None:
    ports = [{"number": 80, "name": "main", "protocol": "HTTP", "targetPort": 8888}]
    translation = translated(service(HOST, ports=ports, endpoints=[{"address": "10.0.0.1"}]))
    assignment: Any = translation.messages[ENDPOINT_TYPE][f"outbound|80||{HOST}"]
    assert assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value == 8888


def test_subsets_choose_endpoints_by_labels() -> None:
    translation = translated(service(HOST, "v1", "v2", "v2"), rule(HOST, "v1", "v2", "v3"))
    assert addresses(translation) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert addresses(translation, "v1") == ["10.0.0.1"]
    assert addresses(translation, "v2") == ["10.0.0.2", "10.0.0.3"]
    assert addresses(translation, "v3") == []


def test_an_address_stands_only_once_since_clients_refuse_doubles() -> None:
    twice = [
        {"address": "10.0.0.1", "weight": weight, "locality": locality} for weight, locality in ((1, "a"), (2, "b"))
    ]
    assert addresses(translated(service(HOST, endpoints=twice))) == ["10.0.0.1"]


def test_the_order_of_endpoints_does_not_matter() -> None:
    endpoints = [{"address": f"10.0.0.{number}"} for number in range(1, 5)]
    one, two = translated(service(HOST, endpoints=endpoints)), translated(service(HOST, endpoints=endpoints[::-1]))
    assert one.messages == two.messages


@pytest.mark.parametrize(
    ("simple", "expected"),
    [("ROUND_ROBIN", Cluster.ROUND_ROBIN), ("RANDOM", Cluster.RANDOM), ("LEAST_REQUEST", Cluster.LEAST_REQUEST),
     ("LEAST_CONN", Cluster.LEAST_REQUEST), ("UNSPECIFIED", Cluster.LEAST_REQUEST)],
)  # fmt: skip
def test_load_balancers(simple: str, expected: int) -> None:
    policy = {"loadBalancer": {"simple": simple}}
    assert cluster(translated(service(HOST), rule(HOST, trafficPolicy=policy))).lb_policy == expected


def test_the_nearest_load_balancer_setting_wins() -> None:
    def policy(simple: str, **more: Any) -> dict[str, Any]:
        return {"loadBalancer": {"simple": simple}, **more}

    at_port = [{"port": {"number": 8080}, "loadBalancer": {"simple": "ROUND_ROBIN"}}]
    subsets = [{"name": "a"}, {"name": "b", "trafficPolicy": policy("RANDOM")}]
    ports = [{"number": number, "name": f"p{number}", "protocol": "HTTP"} for number in (8080, 8081)]
    translation = translated(
        service(HOST, ports=ports),
        rule(HOST, subsets=subsets, trafficPolicy=policy("LEAST_REQUEST", portLevelSettings=at_port)),
    )
    found = {
        (subset, port): cluster(translation, subset, port).lb_policy
        for subset in ("", "a", "b")
        for port in (8080, 8081)
    }
    around, least, chance = Cluster.ROUND_ROBIN, Cluster.LEAST_REQUEST, Cluster.RANDOM
    assert found == {
        ("", 8080): around, ("", 8081): least, ("a", 8080): around, ("a", 8081): least,
        ("b", 8080): chance, ("b", 8081): chance,
    }  # fmt: skip


def test_grpc_clients_get_a_policy_that_all_of_them_have() -> None:
    assert cluster(translated(service(HOST), scope=Scope(kind="grpc"))).lb_policy == Cluster.ROUND_ROBIN


def test_a_dns_service_is_a_strict_dns_cluster_with_its_endpoints_inside() -> None:
    endpoints = [{"address": "backend.example", "ports": {"main": 81}}]
    translation = translated(service(HOST, resolution="DNS", endpoints=endpoints))
    made = cluster(translation)
    assert (made.type, made.dns_lookup_family) == (Cluster.STRICT_DNS, Cluster.V4_ONLY)
    where = made.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (where.address, where.port_value) == ("backend.example", 81)
    assert translation.messages[ENDPOINT_TYPE] == {}


def test_a_dns_service_without_endpoints_is_reached_under_its_own_name() -> None:
    made = cluster(translated(service(HOST, resolution="DNS", endpoints=[])))
    where = made.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (where.address, where.port_value) == (HOST, 8080)


@pytest.mark.parametrize(
    ("protocol", "http2"), [("HTTP", False), ("HTTP2", True), ("GRPC", True), ("grpc", True), ("TCP", False)]
)
def test_http2_upstreams(protocol: str, http2: bool) -> None:
    made = cluster(translated(service(HOST, protocol=protocol)))
    assert bool(made.typed_extension_protocol_options) is http2


def test_the_black_hole_is_there_and_passthrough_only_where_it_can_work() -> None:
    allow = MeshSettings("ALLOW_ANY")
    assert list(translated().messages[CLUSTER_TYPE]) == ["BlackHoleCluster"]
    assert list(translated(mesh=allow).messages[CLUSTER_TYPE]) == ["BlackHoleCluster", "PassthroughCluster"]
    explicit = Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001)
    assert list(translated(mesh=allow, scope=explicit).messages[CLUSTER_TYPE]) == ["BlackHoleCluster"]


def test_services_are_seen_where_they_are_exported_to() -> None:
    hidden = service(HOST, exportTo=["shop"])
    assert len(translated(hidden).messages[CLUSTER_TYPE]) == 1
    assert len(translated(hidden, scope=Scope(namespace="shop")).messages[CLUSTER_TYPE]) == 2
    own = service(HOST, exportTo=["."])
    assert len(translated(own, scope=Scope(namespace="default")).messages[CLUSTER_TYPE]) == 2
    assert len(translated(own, scope=Scope(namespace="shop")).messages[CLUSTER_TYPE]) == 1


def test_every_resource_names_the_objects_it_comes_from() -> None:
    entry, subsets = service(HOST, "v1"), rule(HOST, "v1")
    translation = translated(entry, subsets)
    assert translation.origins[CLUSTER_TYPE, f"outbound|8080|v1|{HOST}"] == (subsets.key, entry.key)
