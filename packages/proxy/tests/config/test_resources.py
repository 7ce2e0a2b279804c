"""Resources as they come over xDS: what they compile to, and the text with which they are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration as RouteConfigurationProto

from isthmus_proxy.cluster.lb_policy import LeastRequest
from isthmus_proxy.cluster.model import ClusterConfig, EndpointConfig, RetryBudget, Thresholds
from isthmus_proxy.config.cluster import compile_assignment, compile_cluster
from isthmus_proxy.config.listener import compile_listener
from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, RdsReference
from isthmus_proxy.route.model import (
    ForwardAction,
    HeaderMatch,
    QueryMatch,
    RedirectAction,
    RegexRewrite,
    RetryPolicy,
    Route,
    RouteConfiguration,
    StringMatch,
)
from isthmus_proxy.runtime import Fraction

EXTENSION = "type.googleapis.com/envoy.extensions."
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def filled(message: Any, fields: Mapping[str, object]) -> Any:
    fill(message, fields)
    return message


def routes(*each: Mapping[str, object], **fields: object) -> RouteConfiguration:
    host = {"name": "host", "domains": ["*"], "routes": list(each)}
    document = {"name": "8080", "virtual_hosts": [host], **fields}
    return compile_route_configuration(filled(RouteConfigurationProto(), document))


def one_route(route: dict[str, object]) -> Route:
    return routes(route).virtual_hosts[0].routes[0]


def forwarded(**action: object) -> ForwardAction:
    compiled = one_route({"match": {"prefix": "/"}, "route": {"cluster": "c", **action}}).action
    assert isinstance(compiled, ForwardAction)
    return compiled


def cluster(**fields: object) -> ClusterConfig:
    return compile_cluster(filled(Cluster(), {"name": "c", **fields}))


def test_an_istio_shaped_route_configuration() -> None:
    predicate = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": EXTENSION + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
    }
    policy = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [predicate],
        "host_selection_retry_max_attempts": "5",
        "retriable_status_codes": [503],
    }
    configuration = routes(
        {
            "name": "default",
            "match": {"prefix": "/"},
            "route": {"cluster": "outbound|8080||web.shop", "timeout": "0s", "retry_policy": policy},
            "decorator": {"operation": "web.shop:8080/*"},
        },
        validate_clusters=False,
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes=1048576,
    )
    action = configuration.virtual_hosts[0].routes[0].action
    assert isinstance(action, ForwardAction)
    assert action.timeout == 0.0
    assert action.retry_policy == RetryPolicy(
        retry_on=frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}),
        num_retries=2,
        retriable_status_codes=frozenset({503}),
        avoid_previous_hosts=True,
        host_selection_attempts=5,
    )
    assert configuration.ignore_port_in_host_matching
    assert not configuration.validate_clusters


def test_defaults_of_a_forwarding_route() -> None:
    action = forwarded()
    assert (action.timeout, action.idle_timeout, action.retry_policy, action.total_weight) == (15.0, None, None, 1)
    assert action.cluster_not_found_status == 503
    assert forwarded(cluster_not_found_response_code="NOT_FOUND").cluster_not_found_status == 404


def test_a_virtual_host_lends_its_retry_policy() -> None:
    host = {
        "name": "h",
        "domains": ["*"],
        "retry_policy": {"retry_on": "5xx"},
        "routes": [
            {"match": {"prefix": "/own"}, "route": {"cluster": "c", "retry_policy": {"retry_on": "reset"}}},
            {"match": {"prefix": "/"}, "route": {"cluster": "c"}},
        ],
    }
    compiled = compile_route_configuration(filled(RouteConfigurationProto(), {"virtual_hosts": [host]}))
    policies = [route.action.retry_policy for route in compiled.virtual_hosts[0].routes]  # type: ignore[union-attr]
    assert [policy.retry_on for policy in policies if policy] == [frozenset({"reset"}), frozenset({"5xx"})]


def test_all_kinds_of_matches() -> None:
    match = one_route(
        {
            "match": {
                "path_separated_prefix": "/A",
                "case_sensitive": False,
                "headers": [
                    {"name": "X-A", "string_match": {"prefix": "V", "ignore_case": True}},
                    {"name": ":method", "exact_match": "GET", "invert_match": True},
                    {"name": "n", "range_match": {"start": 1, "end": 3}, "treat_missing_header_as_empty": True},
                    {"name": "p", "present_match": False},
                    {"name": "q"},
                    {"name": "r", "safe_regex_match": {"regex": "a.*"}},
                ],
                "query_parameters": [
                    {"name": "k", "string_match": {"suffix": "z"}},
                    {"name": "l", "present_match": True},
                ],
                "runtime_fraction": {
                    "default_value": {"numerator": 5, "denominator": "TEN_THOUSAND"},
                    "runtime_key": "routing.a",
                },
                "grpc": {},
            },
            "direct_response": {"status": 204},
        }
    ).match
    assert match.path == StringMatch("path_separated_prefix", b"/a", ignore_case=True)
    assert match.headers == (
        HeaderMatch(b"x-a", StringMatch("prefix", b"v", ignore_case=True)),
        HeaderMatch(b":method", StringMatch("exact", b"GET"), invert=True),
        HeaderMatch(b"n", range=(1, 3), treat_missing_as_empty=True),
        HeaderMatch(b"p", present=False),
        HeaderMatch(b"q"),
        HeaderMatch(b"r", StringMatch("regex", b"a.*")),
    )
    assert match.query == (
        QueryMatch(b"k", StringMatch("suffix", b"z")),
        QueryMatch(b"l", StringMatch("present")),
    )
    assert (match.fraction, match.grpc) == (Fraction(5, 10_000, "routing.a"), True)


def test_redirects_and_rewrites() -> None:
    redirect = {"host_redirect": "h", "port_redirect": 8, "response_code": "SEE_OTHER", "strip_query": True}
    assert one_route({"match": {"prefix": "/"}, "redirect": redirect}).action == RedirectAction(
        status=303, host=b"h", port=8, strip_query=True
    )
    regex = {"pattern": {"regex": "^/(.*)"}, "substitution": "/\\1"}
    assert forwarded(regex_rewrite=regex).regex_rewrite == RegexRewrite(b"^/(.*)", rb"/\1")
    action = forwarded(host_rewrite_literal="h", append_x_forwarded_host=True, prefix_rewrite="/x")
    assert (action.host_rewrite, action.append_forwarded_host, action.prefix_rewrite) == (b"h", True, b"/x")


def test_content_is_a_hash_of_the_message() -> None:
    same, other = (
        {"match": {"prefix": "/"}, "route": {"cluster": "a"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "b"}},
    )
    assert routes(same).content == routes(same).content != routes(other).content


@pytest.mark.parametrize(
    ("route", "path", "reason"),
    [
        ({"match": {"prefix": "/"}}, "routes[0]", "needs one of route"),
        ({"match": {}, "route": {"cluster": "c"}}, "routes[0].match", "needs one of prefix"),
        ({"match": {"safe_regex": {"regex": "(?=a)"}}, "route": {"cluster": "c"}}, "safe_regex.regex", "RE2"),
        ({"match": {"path_separated_prefix": "/a/"}, "route": {"cluster": "c"}}, "path_separated_prefix", "slash"),
        (
            {"match": {"prefix": "/"}, "route": {"cluster": "c", "retry_policy": {"retry_on": "5xxx"}}},
            "retry_on",
            "known",
        ),
        (
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "c"}]}}},
            "add up to 0",
            "from 1",
        ),
        (
            {
                "match": {"prefix": "/"},
                "route": {"weighted_clusters": {"clusters": [{"name": "c", "weight": 5}], "total_weight": 100}},
            },
            "total_weight",
            "not the sum",
        ),
        ({"match": {"prefix": "/"}, "route": {"cluster_header": ":x"}}, "route.cluster_header", "name of a header"),
        ({"match": {"prefix": "/"}, "direct_response": {"status": 99}}, "direct_response.status", "from 200"),
        (
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "a" * 5000}}},
            "direct_response.body",
            "longer than max_direct_response_body_size_bytes",
        ),
        (
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"filename": "/nowhere"}}},
            "body.filename",
            "cannot be read",
        ),
        (
            {
                "match": {"prefix": "/"},
                "direct_response": {"status": 200},
                "response_headers_to_add": [{"header": {"key": "x", "value": "%NOPE%"}}],
            },
            "response_headers_to_add[0].header.value",
            "unknown or unsupported operator",
        ),
        (
            {
                "match": {"prefix": "/"},
                "direct_response": {"status": 200},
                "request_headers_to_add": [{"header": {"key": "x", "value": "a\r\nb: c"}}],
            },
            "request_headers_to_add[0].header.value",
            "line ends",
        ),
        (
            {
                "match": {"prefix": "/"},
                "direct_response": {"status": 200},
                "request_headers_to_add": [{"header": {"key": ":path", "value": "x"}}],
            },
            "request_headers_to_add[0].header.key",
            "may not be modified",
        ),
        (
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "request_headers_to_remove": ["Host"]},
            "request_headers_to_remove[0]",
            "may not be modified",
        ),
        (
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "request_headers_to_remove": ["a b"]},
            "request_headers_to_remove[0]",
            "not a header name",
        ),
    ],
)
def test_bad_routes_are_refused_by_path(route: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        routes(route)
    assert caught.value.path.startswith("virtual_hosts[0].routes[0]")
    assert path in str(caught.value)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("hosts", "reason"),
    [
        ([("a", ["x"]), ("b", ["X"])], "belongs to virtual host a"),
        ([("a", ["x", "x"])], "belongs to virtual host a"),
        ([("a", ["x"]), ("a", ["y"])], "have this name"),
        ([("a", [])], "at least one domain"),
        ([("a", ["a*b"])], "one * at its beginning or end"),
        ([("a", ["*a*"])], "one * at its beginning or end"),
        ([("", ["a"])], "required"),
    ],
)
def test_bad_virtual_hosts_are_refused(hosts: list[tuple[str, list[str]]], reason: str) -> None:
    document = {"virtual_hosts": [{"name": name, "domains": domains} for name, domains in hosts]}
    with pytest.raises(ConfigError, match=r".+") as caught:
        compile_route_configuration(filled(RouteConfigurationProto(), document))
    assert reason in caught.value.reason


def test_an_istio_shaped_cluster() -> None:
    limit = 4294967295
    config = cluster(
        type="EDS",
        eds_cluster_config={"eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}},
        connect_timeout="10s",
        lb_policy="LEAST_REQUEST",
        circuit_breakers={"thresholds": [{"max_connections": limit, "max_retries": limit, "track_remaining": True}]},
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        metadata={"filter_metadata": {"istio": {"services": []}}},
    )
    assert (config.discovery, config.lb_policy, config.connect_timeout) == ("EDS", LeastRequest(), 10.0)
    assert config.thresholds == Thresholds(max_connections=limit, max_retries=limit, track_remaining=True)
    assert (config.healthy_panic_threshold, config.eds_initial_fetch_timeout) == (0.0, 0.0)


def test_circuit_breakers_of_both_priorities() -> None:
    budget = {"budget_percent": {"value": 50}, "min_retry_concurrency": 7}
    rows = [
        {"priority": "HIGH", "max_requests": 9, "max_connection_pools": 2},
        {"priority": "DEFAULT", "retry_budget": budget},
        {"priority": "DEFAULT", "max_retries": 99},
    ]
    config = cluster(circuit_breakers={"thresholds": rows, "per_host_thresholds": [{"max_connections": 4}]})
    assert config.thresholds == Thresholds(retry_budget=RetryBudget(50.0, 7))
    assert config.high_thresholds == Thresholds(max_requests=9, max_connection_pools=2)
    assert config.per_host_max_connections == 4


def test_http_options_of_a_cluster() -> None:
    common = {"idle_timeout": "30s", "max_requests_per_connection": 7}
    options = {"@type": EXTENSION + "upstreams.http.v3.HttpProtocolOptions", "common_http_protocol_options": common}
    explicit = {**options, "explicit_http_config": {"http_protocol_options": {}}}
    config = cluster(typed_extension_protocol_options={OPTIONS: explicit})
    assert (config.upstream_idle_timeout, config.max_requests_per_connection, config.http2) == (30.0, 7, False)
    assert cluster(max_requests_per_connection=3).max_requests_per_connection == 3
    with pytest.raises(ConfigError, match="needs one of explicit_http_config"):
        cluster(typed_extension_protocol_options={OPTIONS: options})
    with pytest.raises(ConfigError, match=r'options\["other"\]: only'):
        cluster(typed_extension_protocol_options={"other": explicit})


def endpoint(address: str, port: int, **fields: object) -> dict[str, object]:
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}, **fields}


def assignment(*groups: dict[str, object]) -> Any:
    return filled(ClusterLoadAssignment(), {"cluster_name": "c", "endpoints": list(groups)})


def test_an_assignment() -> None:
    metadata = {"filter_metadata": {"envoy.lb": {"version": "v1", "canary": True}, "istio": {"x": 1}}}
    compiled = compile_assignment(
        assignment(
            {
                "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
                "load_balancing_weight": 3,
                "lb_endpoints": [
                    endpoint("10.0.0.1", 80, load_balancing_weight=2, health_status="DEGRADED", metadata=metadata),
                    endpoint("::1", 81),
                ],
            }
        )
    )
    (locality,) = compiled.localities
    assert (locality.region, locality.zone, locality.sub_zone, locality.weight) == ("r", "z", "s", 3)
    assert locality.endpoints == (
        EndpointConfig("10.0.0.1", 80, 2, "DEGRADED", metadata=(("canary", ("bool", True)), ("version", "v1"))),
        EndpointConfig("::1", 81),
    )


@pytest.mark.parametrize(
    ("group", "path", "reason"),
    [
        ({"lb_endpoints": [endpoint("web", 80)]}, "endpoints[0].lb_endpoints[0].endpoint.address", "IP address"),
        ({"lb_endpoints": [endpoint("10.0.0.1", 0)]}, "socket_address.port_value", "from 1"),
        ({"lb_endpoints": [endpoint("10.0.0.1", 70000)]}, "socket_address.port_value", "at most 65535"),
        ({"lb_endpoints": [{}]}, "endpoint.address.socket_address", "required"),
        ({"priority": 1}, "endpoints", "priority 0 is left out"),
        ({"priority": 129}, "endpoints[0].priority", "at most 128"),
        ({"lb_endpoints": [endpoint("10.0.0.1", 80, load_balancing_weight=0)]}, "load_balancing_weight", "at least 1"),
    ],
)
def test_bad_assignments_are_refused_by_path(group: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_assignment(assignment(group))
    assert path in caught.value.path
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"type": "EDS"}, "eds_cluster_config.eds_config", "only ads"),
        ({"type": "ORIGINAL_DST"}, "lb_policy", "needs lb_policy CLUSTER_PROVIDED"),
        ({"type": "LOGICAL_DNS"}, "", ""),
        (
            {"type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}, "load_assignment": {}},
            "load_assignment",
            "xDS",
        ),
        (
            {"circuit_breakers": {"per_host_thresholds": [{"max_requests": 1}]}},
            "per_host_thresholds[0].max_requests",
            "only max_connections",
        ),
        (
            {"circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": 101}}}]}},
            "thresholds[0].retry_budget.budget_percent",
            "from 0 to 100",
        ),
        (
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
            "least_request_lb_config.choice_count",
            "at least 2",
        ),
        ({"transport_socket": {"name": "tls"}}, "transport_socket.typed_config", "raw_buffer"),
    ],
)
def test_bad_clusters_are_refused_by_path(fields: dict[str, object], path: str, reason: str) -> None:
    if not path:
        cluster(**fields)
        return
    with pytest.raises(ConfigError) as caught:
        cluster(**fields)
    assert path in caught.value.path
    assert reason in caught.value.reason


def test_endpoints_that_occur_twice_in_a_static_cluster_are_refused() -> None:
    both = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint("10.0.0.1", 80)] * 2}]}
    with pytest.raises(ConfigError, match="occurs twice"):
        cluster(type="STATIC", load_assignment=both)


def test_a_listener_of_a_control_plane() -> None:
    manager = {
        "@type": EXTENSION + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound_8080",
        "rds": {"config_source": {"ads": {}, "initial_fetch_timeout": "3s"}, "route_config_name": "8080"},
        "http_filters": [{"name": "r", "typed_config": {"@type": EXTENSION + "filters.http.router.v3.Router"}}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
    }
    document = {
        "name": "127.0.0.1_8080",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}], "filter_chain_match": {}}],
    }
    compiled = compile_listener(filled(Listener(), document))
    network_filter = compiled.filter_chains[0].network_filter
    assert isinstance(network_filter, HttpConnectionManagerConfig)
    assert network_filter.route == RdsReference("8080", 3.0)
    assert network_filter.stream_idle_timeout == 0.0
    assert network_filter.upgrade_types == {b"websocket"}
    tls = {**document, "filter_chains": [{"filters": [], "transport_socket": {"name": "tls"}}]}
    with pytest.raises(ConfigError, match=r"filter_chains\[0\]\..*raw_buffer"):
        compile_listener(filled(Listener(), tls))
