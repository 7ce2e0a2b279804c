"""Traffic policies of DestinationRules in clusters, routes and TCP listeners."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, rule, service, split, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Memo, Translation, translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE

HOST = "reviews.shop"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NO_LIMIT = 2**32 - 1
BY_USER = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
ON_USER = {"header": {"header_name": "x-user"}}


def translated(*objects: ConfigObject, scope: Scope | None = None) -> Translation:
    return translate(admitted(objects).model, scope or Scope())


def cluster(
    policy: dict[str, Any], subset: str = "", protocol: str = "HTTP", scope: Scope | None = None, **spec: Any
) -> Any:
    objects = service(HOST, protocol=protocol), rule(HOST, trafficPolicy=policy, **spec)
    message = translated(*objects, scope=scope).messages[CLUSTER_TYPE][f"outbound|8080|{subset}|{HOST}"]
    return MessageToDict(message, preserving_proto_field_name=True)


def routes(*objects: ConfigObject, scope: Scope | None = None) -> list[Any]:
    made: Any = translated(*objects, scope=scope).messages[ROUTE_TYPE]
    configuration = MessageToDict(made["8080"], preserving_proto_field_name=True)
    return [route for host in configuration["virtual_hosts"] if host["name"] == f"{HOST}:8080" for route in host["routes"]]  # fmt: skip


def tcp_proxy(policy: dict[str, Any]) -> Any:
    objects = service(HOST, protocol="TCP"), rule(HOST, trafficPolicy=policy)
    listener = MessageToDict(translated(*objects).messages[LISTENER_TYPE]["0.0.0.0_8080"])
    config = listener["filterChains"][0]["filters"][0]["typedConfig"]
    return {name: value for name, value in config.items() if name not in {"@type", "statPrefix", "cluster"}}


def test_limits_of_a_connection_pool_are_circuit_breakers() -> None:
    http = {"http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRetries": 4}
    made = cluster({"connectionPool": {"tcp": {"maxConnections": 1, "connectTimeout": "0.5s"}, "http": http}})
    thresholds = {"max_connections": 1, "max_pending_requests": 2, "max_requests": 3, "max_retries": 4}
    assert made["circuit_breakers"] == {"thresholds": [thresholds]}
    assert made["connect_timeout"] == "0.500s"
    assert "typed_extension_protocol_options" not in made


def test_what_a_pool_leaves_unset_has_no_limit() -> None:
    made = cluster({"connectionPool": {"http": {"maxRetries": 4}}})
    limits = {"max_connections": NO_LIMIT, "max_pending_requests": NO_LIMIT, "max_requests": NO_LIMIT, "max_retries": 4}
    assert made["circuit_breakers"] == {"thresholds": [limits]}
    assert made["connect_timeout"] == "10s"


@pytest.mark.parametrize(
    ("protocol", "pool", "expected"),
    [
        ("HTTP", {"http": {"maxRequestsPerConnection": 1}},
         {"common_http_protocol_options": {"max_requests_per_connection": 1},
          "explicit_http_config": {"http_protocol_options": {}}}),
        ("HTTP", {"http": {"idleTimeout": "5s"}, "tcp": {"idleTimeout": "9s"}},
         {"common_http_protocol_options": {"idle_timeout": "5s"},
          "explicit_http_config": {"http_protocol_options": {}}}),
        ("HTTP", {"tcp": {"idleTimeout": "0s"}},
         {"common_http_protocol_options": {"idle_timeout": "0s"}, "explicit_http_config": {"http_protocol_options": {}}}),
        ("HTTP", {"http": {"h2UpgradePolicy": "UPGRADE"}}, {"explicit_http_config": {"http2_protocol_options": {}}}),
        ("GRPC", {"http": {"idleTimeout": "5s", "maxConcurrentStreams": 7}},
         {"common_http_protocol_options": {"idle_timeout": "5s"},
          "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 7}}}),
        ("HTTP", {"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE", "maxRetries": 1}}, None),
        ("TCP", {"tcp": {"idleTimeout": "5s"}, "http": {"idleTimeout": "5s"}}, None),
    ],
)  # fmt: skip
def test_ages_of_http_connections(protocol: str, pool: dict[str, Any], expected: Any) -> None:
    made = cluster({"connectionPool": pool}, protocol=protocol).get("typed_extension_protocol_options", {}).get(OPTIONS)
    assert made == (expected and {"@type": f"type.googleapis.com/{OPTIONS}"} | expected)


def test_the_idle_time_of_tcp_connections_is_the_listeners() -> None:
    pool = {"tcp": {"idleTimeout": "5s"}, "http": {"idleTimeout": "7s"}}
    assert tcp_proxy({"connectionPool": pool}) == {"idleTimeout": "5s"}
    assert tcp_proxy({}) == {}


def test_a_tcp_listener_names_the_rule_it_follows() -> None:
    objects = (
        service(HOST, protocol="TCP"),
        rule(HOST, trafficPolicy={"connectionPool": {"tcp": {"idleTimeout": "5s"}}}),
    )
    assert translated(*objects).origins[LISTENER_TYPE, "0.0.0.0_8080"] == (objects[1].key, objects[0].key)


def test_outlier_detection_has_istios_defaults() -> None:
    made = cluster({"outlierDetection": {"interval": "1s"}})
    assert made["outlier_detection"] == {"interval": "1s", "enforcing_success_rate": 0}
    assert made["common_lb_config"] == {"healthy_panic_threshold": {}}
    assert "outlier_detection" not in cluster({})
    assert "common_lb_config" not in cluster({})


def test_all_of_outlier_detection() -> None:
    settings = {
        "splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 3, "consecutiveGatewayErrors": 4,
        "consecutive5xxErrors": 0, "baseEjectionTime": "7s", "maxEjectionPercent": 50, "minHealthPercent": 20,
    }  # fmt: skip
    made = cluster({"outlierDetection": settings})
    assert made["outlier_detection"] == {
        "consecutive_5xx": 0, "enforcing_consecutive_5xx": 0,
        "consecutive_gateway_failure": 4, "enforcing_consecutive_gateway_failure": 100,
        "split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": 0,
        "consecutive_local_origin_failure": 3, "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_success_rate": 0, "base_ejection_time": "7s", "max_ejection_percent": 50,
    }  # fmt: skip
    assert made["common_lb_config"] == {"healthy_panic_threshold": {"value": 20.0}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "1024"}}),
        ({"minimumRingSize": 8}, {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "8"}}),
        ({"ringHash": {"minimumRingSize": 9}}, {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "9"}}),
        ({"maglev": {}}, {"lb_policy": "MAGLEV"}),
        ({"maglev": {"tableSize": 11}}, {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "11"}}),
    ],
)  # fmt: skip
def test_consistent_hashing(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    made = cluster({"loadBalancer": {"consistentHash": settings | {"useSourceIp": True}}})
    assert {name: made.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "field", "expected"),
    [
        ({"warmup": {"duration": "9s"}}, "least_request_lb_config", {"slow_start_window": "9s"}),
        ({"warmupDurationSecs": "9s", "simple": "ROUND_ROBIN"}, "round_robin_lb_config", {"slow_start_window": "9s"}),
        ({"warmup": {"duration": "9s", "minimumPercent": 5}}, "least_request_lb_config",
         {"slow_start_window": "9s", "min_weight_percent": {"value": 5.0}}),
    ],
)  # fmt: skip
def test_new_endpoints_are_warmed_up(settings: dict[str, Any], field: str, expected: dict[str, Any]) -> None:
    assert cluster({"loadBalancer": settings})[field] == {"slow_start_config": expected}


def test_grpc_clients_do_not_hash() -> None:
    scope = Scope(kind="grpc")
    assert "lb_policy" not in cluster(BY_USER, scope=scope)  # ROUND_ROBIN, the default
    made: Any = translated(service(HOST), rule(HOST, trafficPolicy=BY_USER), scope=scope).messages[ROUTE_TYPE]
    assert not made[f"{HOST}:8080"].virtual_hosts[0].routes[0].route.hash_policy


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"httpHeaderName": "x-user"}, ON_USER),
        ({"httpCookie": {"name": "user"}}, {"cookie": {"name": "user"}}),
        ({"httpCookie": {"name": "user", "path": "/a", "ttl": "60s", "attributes": [{"name": "SameSite", "value": "Lax"}]}},
         {"cookie": {"name": "user", "path": "/a", "ttl": "60s", "attributes": [{"name": "SameSite", "value": "Lax"}]}}),
        ({"httpCookie": {"name": "user", "ttl": "0s"}}, {"cookie": {"name": "user", "ttl": "0s"}}),
        ({"useSourceIp": True}, {"connection_properties": {"source_ip": True}}),
        ({"httpQueryParameterName": "user"}, {"query_parameter": {"name": "user"}}),
    ],
)  # fmt: skip
def test_routes_to_a_host_that_hashes_say_by_what(key: dict[str, Any], expected: dict[str, Any]) -> None:
    hashing = rule(HOST, trafficPolicy={"loadBalancer": {"consistentHash": key}})
    (route,) = routes(service(HOST), hashing)
    assert route["route"]["hash_policy"] == [expected]


def test_tcp_hashes_the_clients_address_and_nothing_else() -> None:
    assert tcp_proxy({"loadBalancer": {"consistentHash": {"useSourceIp": True}}}) == {"hashPolicy": [{"sourceIp": {}}]}
    assert tcp_proxy(BY_USER) == {}


def test_a_split_hashes_by_the_keys_of_all_its_destinations() -> None:
    address = {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}
    subsets = [{"name": "v1"}, {"name": "v2", "trafficPolicy": address}, {"name": "v3"}]
    objects = (
        service(HOST),
        rule(HOST, trafficPolicy=BY_USER, subsets=subsets),
        split(HOST, {"v1": 1, "v2": 1, "v3": 1}),
    )
    (route,) = routes(*objects)
    assert route["route"]["hash_policy"] == [ON_USER, {"connection_properties": {"source_ip": True}}]


def test_routes_name_the_rules_by_which_they_hash() -> None:
    other, hashing = service("other.shop"), rule("other.shop", trafficPolicy=BY_USER)
    web, plain = service(HOST), rule(HOST)
    governing = virtual_service(HOST, {"route": [{"destination": {"host": "other.shop"}}]})
    origins = translated(other, hashing, web, plain, governing).origins[ROUTE_TYPE, "8080"]
    assert origins == tuple(sorted([other.key, hashing.key, web.key, governing.key]))
    without = translated(other, web, plain, governing).origins[ROUTE_TYPE, "8080"]
    assert without == tuple(sorted([other.key, web.key, governing.key]))


def test_a_subset_overrides_field_by_field_and_a_port_all_at_once() -> None:
    policy = {
        "loadBalancer": {"simple": "RANDOM"},
        "outlierDetection": {"interval": "1s"},
        "connectionPool": {"tcp": {"maxConnections": 5}},
    }
    mine = {"connectionPool": {"tcp": {"maxConnections": 6}}}
    at_port = {"portLevelSettings": [{"port": {"number": 8080}} | mine], "loadBalancer": {"simple": "ROUND_ROBIN"}}

    def found(made: Any) -> tuple[str, bool, int]:
        limit = made["circuit_breakers"]["thresholds"][0]["max_connections"]
        return made.get("lb_policy", "ROUND_ROBIN"), "outlier_detection" in made, limit

    assert found(cluster(policy)) == ("RANDOM", True, 5)
    assert found(cluster(policy, "a", subsets=[{"name": "a", "trafficPolicy": mine}])) == ("RANDOM", True, 6)
    assert found(cluster(policy | at_port)) == ("LEAST_REQUEST", False, 6)
    assert found(cluster(policy, "a", subsets=[{"name": "a", "trafficPolicy": at_port}])) == ("LEAST_REQUEST", False, 6)
    subset = [{"name": "a", "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}]
    assert found(cluster(policy | at_port, "a", subsets=subset)) == ("ROUND_ROBIN", False, 6)


def test_a_rule_that_begins_to_hash_changes_routes_that_were_remembered() -> None:
    memo, web, other = Memo(), service(HOST), service("other.shop")
    governing = virtual_service(HOST, {"route": [{"destination": {"host": "other.shop"}}]})
    for policy in ({}, BY_USER, {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}, {}):
        model = admitted([web, other, governing, rule("other.shop", trafficPolicy=policy)]).model
        assert translate(model, Scope(), memo) == translate(model, Scope())
