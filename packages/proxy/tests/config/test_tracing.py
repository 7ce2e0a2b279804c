"""What of a tracing configuration is taken, and how the rest is refused."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_connection_manager import compile_http_connection_manager
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.trace.model import CustomTag, TracingConfig

OTEL = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"
ZIPKIN = "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
GRPC = {"@type": OTEL, "grpc_service": {"envoy_grpc": {"cluster_name": "otel"}}}
HTTP_URI = {"uri": "http://otel.example:4318/v1/traces?x=1", "cluster": "otel", "timeout": "3s"}
HTTP = {"@type": OTEL, "service_name": "shop", "http_service": {"http_uri": HTTP_URI}}


def compiled(tracing: dict[str, Any] | None, *, router: dict[str, Any] | None = None) -> TracingConfig | None:
    proto = HttpConnectionManager()
    document: dict[str, Any] = {
        "stat_prefix": "s",
        "route_config": {"name": "r"},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER, **(router or {})}}],
    }
    if tracing is not None:
        document["tracing"] = tracing
    fill(proto, document)
    check(proto)
    return compile_http_connection_manager(proto, "").tracing


def provider(config: dict[str, Any]) -> dict[str, Any]:
    return {"provider": {"name": "p", "typed_config": config}}


def found(config: dict[str, Any], **more: Any) -> TracingConfig:
    tracing = compiled({**provider(config), **more})
    assert tracing is not None
    return tracing


def test_without_tracing_nothing_is_traced() -> None:
    assert compiled(None) is None


def test_collectors() -> None:
    grpc = found(GRPC).collector
    assert (grpc.kind, grpc.cluster, grpc.service_name) == ("otlp_grpc", "otel", "unknown_service:envoy")
    assert grpc.path == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    http = found({**HTTP, "max_cache_size": 9}).collector
    assert (http.kind, http.authority, http.path) == ("otlp_http", "otel.example:4318", "/v1/traces?x=1")
    assert (http.timeout, http.max_spans, http.service_name) == (3.0, 9, "shop")
    zipkin = found(
        {
            "@type": ZIPKIN,
            "collector_cluster": "z",
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
            "trace_id_128bit": True,
            "shared_span_context": False,
        }
    ).collector
    assert (zipkin.kind, zipkin.authority, zipkin.path) == ("zipkin", "z", "/api/v2/spans")
    assert (zipkin.trace_id_128bit, zipkin.shared_span_context) == (True, False)


def test_sampling_and_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_TEST_ZONE", "north")
    tags = [
        {"tag": "a", "literal": {"value": "1"}},
        {"tag": "b", "environment": {"name": "ISTHMUS_TEST_ZONE"}},
        {"tag": "c", "request_header": {"name": "X-User", "default_value": "nobody"}},
    ]
    tracing = found(GRPC, random_sampling={"value": 12.5}, max_path_tag_length=5, custom_tags=tags)
    assert tracing.random_sampling == Fraction(1250, 10_000, "tracing.random_sampling")
    assert tracing.overall_sampling == Fraction(10_000, 10_000, "tracing.global_enabled")
    assert tracing.max_path_tag_length == 5
    assert tracing.custom_tags == (
        CustomTag("a", "1"),
        CustomTag("b", "north"),
        CustomTag("c", "nobody", b"x-user"),
    )


@pytest.mark.parametrize(
    ("tracing", "place"),
    [
        ({}, "tracing.provider"),
        (provider({"@type": OTEL}), "typed_config"),
        (provider({**GRPC, **HTTP}), "typed_config"),
        (provider({**HTTP, "http_service": {"http_uri": {**HTTP_URI, "uri": "otel"}}}), "http_uri.uri"),
        (provider({**GRPC, "max_cache_size": 0}), "max_cache_size"),
        (provider({**GRPC, "sampler": {"name": "x"}}), "sampler"),
        (provider({"@type": ZIPKIN, "collector_cluster": "z"}), "collector_endpoint"),
        (
            provider({"@type": ZIPKIN, "collector_cluster": "z", "collector_endpoint": "/", "trace_context_option": 1}),
            "trace_context_option",
        ),
        ({**provider(GRPC), "verbose": True}, "verbose"),
        ({**provider(GRPC), "spawn_upstream_span": True}, "spawn_upstream_span"),
        ({**provider(GRPC), "random_sampling": {"value": 101}}, "random_sampling.value"),
        ({**provider(GRPC), "custom_tags": [{"tag": "a", "metadata": {}}]}, "metadata"),
        ({**provider(GRPC), "custom_tags": [{"tag": "a"}]}, "custom_tags[0]"),
    ],
)
def test_what_is_not_supported_is_refused_by_path(tracing: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as error:
        compiled(tracing)
    assert place in str(error.value)


def test_spans_of_upstream_requests_are_refused_where_something_traces() -> None:
    assert compiled(None, router={"start_child_span": True}) is None
    with pytest.raises(ConfigError, match="start_child_span"):
        compiled(provider(GRPC), router={"start_child_span": True})
