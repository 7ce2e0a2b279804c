"""Tracing, held against a live Envoy: the headers that upstreams get and the spans that collectors get, for the same requests."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # type: ignore[import-untyped]
    ExportTraceServiceResponse,
)

from harness.collector import Collector, otlp_spans
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_ports

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "b7ad6b7169203330"
W3C = f"00-{TRACE}-{SPAN}-"
REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("/echo", {}),
    ("/echo?x=1", {"traceparent": f"{W3C}01", "tracestate": "a=b"}),
    ("/echo", {"traceparent": f"{W3C}00"}),
    ("/echo", {"traceparent": "junk"}),
    ("/echo", {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "1"}),
    ("/echo", {"x-b3-traceid": SPAN, "x-b3-spanid": SPAN, "x-b3-parentspanid": PARENT, "x-b3-sampled": "0"}),
    ("/echo", {"b3": f"{TRACE}-{SPAN}-1"}),
    ("/echo", {"b3": "0"}),
    ("/echo", {"x-client-trace-id": "mine"}),
    ("/echo", {"x-request-id": "00000000-0fb4-4641-8c13-2c9ab664e117", "x-user": "jo"}),
    ("/named/status/503", {}),
    ("/never", {}),
]


def cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if http2:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        explicit = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {options: explicit}
    return made


def bootstrap(
    port: int, origin: int, collector: int, provider: dict[str, Any], *, http2: bool = False
) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    routes = [
        {
            "match": {"prefix": "/never"},
            "direct_response": {"status": 204},
            "tracing": {"random_sampling": {"numerator": 0}, "overall_sampling": {"numerator": 100}},
        },
        {
            "match": {"prefix": "/named/"},
            "route": {"cluster": "origin", "prefix_rewrite": "/"},
            "decorator": {"operation": "named", "propagate": False},
            "tracing": {
                "random_sampling": {"numerator": 100},
                "custom_tags": [{"tag": "route", "literal": {"value": "named"}}],
            },
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "origin"}},
    ]
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}],
        "tracing": {
            "provider": {"name": "provider", "typed_config": provider},
            "max_path_tag_length": 7,
            "custom_tags": [
                {"tag": "user", "request_header": {"name": "x-user", "default_value": "nobody"}},
                {"tag": "other", "request_header": {"name": "x-other"}},
            ],
        },
    }
    return {
        "node": {"id": "me", "cluster": "us", "locality": {"zone": "north"}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [cluster("origin", origin), cluster("collector", collector, http2=http2)],
        },
    }


OTLP = {
    "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
    "service_name": "shop",
    "http_service": {"http_uri": {"uri": "http://collector/v1/traces", "cluster": "collector", "timeout": "5s"}},
}
ZIPKIN = {
    "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
    "collector_cluster": "collector",
    "collector_endpoint": "/api/v2/spans",
    "collector_endpoint_version": "HTTP_JSON",
}
PROVIDERS: dict[str, dict[str, Any]] = {
    "otlp": OTLP,
    "zipkin": ZIPKIN,
    "zipkin-own-spans": {**ZIPKIN, "shared_span_context": False, "trace_id_128bit": True},
}
GIVEN = {TRACE, SPAN, PARENT}
_ID = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{16})(?![0-9a-f])")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-(.)[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def comparable(value: str) -> str:
    """Fresh identifiers by their length, those of requests by the digit that tells of tracing."""
    value = _UUID.sub(r"uuid \1", value)
    return _ID.sub(lambda found: found[0] if found[0] in GIVEN else f"<{len(found[0])}>", value)


def upstream_headers(address: str, path: str, headers: dict[str, str]) -> list[str]:
    answer = fetch(address, path, headers={"host": "shop", "user-agent": "ua", **headers})
    if not answer.text.startswith('{"method"'):
        return [str(answer.status)]
    return [f"{name.lower()}: {comparable(value)}" for name, value in json.loads(answer.text)["headers"]]


def play(side: Proxy | Envoy, address: str, collector: Collector) -> tuple[list[list[str]], list[Any]]:
    side.wait_ready()
    seen = [upstream_headers(address, path, headers) for path, headers in REQUESTS]
    sampled = sum(side.stat(f"http.in.tracing.{name}") for name in ("random_sampling", "client_enabled"))
    assert sampled == len(REQUESTS) - 1
    eventually(lambda: len(collector.spans()) >= 7)
    return seen, [normal(span) for span in collector.spans()]


def normal(span: dict[str, Any]) -> Any:
    text = json.dumps(span, sort_keys=True)
    for name in ("traceId", "spanId"):
        if name in span and "parentSpanId" not in span:
            text = text.replace(json.dumps(span[name]), '"fresh"')
    if "parentSpanId" in span:
        text = text.replace(json.dumps(span["spanId"]), '"fresh"')
    # The origin's answer tells the headers that it got, whose length differs with the address of the listener.
    return json.loads(re.sub(r'"response_size": "\d+"', '"response_size": ""', comparable(text)))


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with Origin("origin", "v1", tmp_path) as origin:
        yield origin


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("name", PROVIDERS)
def test_contexts_and_spans_are_envoys(name: str, origin: Origin, tmp_path: Path) -> None:
    first, collectors = free_ports(2), (Collector(), Collector())
    ours = bootstrap(first, origin.port, collectors[0].port, PROVIDERS[name])
    theirs = bootstrap(first + 1, origin.port, collectors[1].port, PROVIDERS[name])
    try:
        with Proxy(ours, tmp_path) as proxy, Envoy(theirs, tmp_path) as envoy:
            found = play(proxy, f"127.0.0.1:{first}", collectors[0])
            expected = play(envoy, f"127.0.0.1:{first + 1}", collectors[1])
            for request, mine, envoys in zip(REQUESTS, found[0], expected[0], strict=True):
                assert mine == envoys, request
            assert len(found[1]) == len(expected[1])
            for mine_span, envoys_span in zip(found[1], expected[1], strict=True):
                assert mine_span == envoys_span
    finally:
        for collector in collectors:
            collector.close()


CHECKS: list[dict[str, str]] = [{}, {"traceparent": f"{W3C}01"}, {"traceparent": f"{W3C}00"}]


def checked(side: Proxy | Envoy, address: str, collector: Collector) -> tuple[list[list[str]], int, list[str]]:
    """What upstreams get of health checks, how many were counted, and what is reported once another request has been."""
    side.wait_ready()
    seen = [upstream_headers(address, "/echo", {"x-check": "1", **headers}) for headers in CHECKS]
    upstream_headers(address, "/named/echo", {})
    eventually(lambda: len(collector.spans()) > 0)
    return seen, side.stat("http.in.tracing.health_check"), [span["name"] for span in collector.spans()]


@pytest.mark.peer("envoy")
def test_health_checks_are_not_traced(origin: Origin, tmp_path: Path) -> None:
    health = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": True,
        "headers": [{"name": "x-check", "present_match": True}],
    }
    first, collectors = free_ports(2), (Collector(), Collector())
    ours = bootstrap(first, origin.port, collectors[0].port, OTLP)
    theirs = bootstrap(first + 1, origin.port, collectors[1].port, OTLP)
    for each in (ours, theirs):
        (manager,) = each["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        manager["typed_config"]["http_filters"].insert(0, {"name": "health", "typed_config": health})
    try:
        with Proxy(ours, tmp_path) as proxy, Envoy(theirs, tmp_path) as envoy:
            found = checked(proxy, f"127.0.0.1:{first}", collectors[0])
            assert found == checked(envoy, f"127.0.0.1:{first + 1}", collectors[1])
            assert found[1:] == (len(CHECKS), ["named"])
    finally:
        for collector in collectors:
            collector.close()


def test_spans_reach_a_collector_over_grpc(origin: Origin, tmp_path: Path) -> None:
    calls: list[bytes] = []

    def export(request: bytes, _context: object) -> bytes:
        calls.append(request)
        return bytes(ExportTraceServiceResponse().SerializeToString())

    server = grpc.server(futures.ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(export)
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    collector = server.add_insecure_port("127.0.0.1:0")
    server.start()
    provider = {"@type": OTLP["@type"], "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}}}
    port = free_ports(1)
    try:
        with Proxy(bootstrap(port, origin.port, collector, provider, http2=True), tmp_path) as proxy:
            proxy.wait_ready()
            assert fetch(f"127.0.0.1:{port}", "/echo").status == 200
            eventually(lambda: proxy.stat("tracing.opentelemetry.spans_sent") == 1)
            assert [span["name"] for span in otlp_spans(calls[0])] == ["ingress"]
    finally:
        server.stop(None)


def test_a_collector_that_is_away_delays_nothing(origin: Origin, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = taken.getsockname()[1]
    port = free_ports(1)
    with Proxy(bootstrap(port, origin.port, gone, OTLP), tmp_path) as proxy:
        proxy.wait_ready()
        for _ in range(20):
            assert fetch(f"127.0.0.1:{port}", "/echo").status == 200
        eventually(lambda: proxy.stat("tracing.opentelemetry.spans_dropped") == 20)
        assert proxy.stat("tracing.opentelemetry.reports_failed") >= 1
