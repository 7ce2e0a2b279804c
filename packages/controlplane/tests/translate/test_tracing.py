"""Spans of listeners, as Telemetry asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope, scope_of
from isthmus_controlplane.model.testing import admitted, make, service
from isthmus_controlplane.model.tracing import TracingProvider, parse_tracing_provider
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.translation import LISTENER_TYPE

GRPC, HTTP = (
    TracingProvider("otlp", "grpc", "spans.shop", 4317),
    TracingProvider("web", "http", "web.shop", 4318, "/v1/traces"),
)
MESH = MeshSettings(tracing_providers=(GRPC, HTTP))
SERVICES = [
    service("reviews.shop", "v1"), service("spans.shop", "v1", port=4317, protocol="GRPC"), service("web.shop", "v1", port=4318),
]  # fmt: skip
INSTANCE = Scope(addresses=("10.0.0.1",), cluster="reviews.shop", labels=(("app", "reviews"),))


def telemetry(*tracing: dict[str, Any], name: str = "spans", namespace: str = "default", **spec: Any) -> ConfigObject:
    return make("Telemetry", name, {"tracing": list(tracing)} | spec, namespace)


def translated(*objects: ConfigObject, scope: Scope = INSTANCE, mesh: MeshSettings = MESH) -> Translation:
    model = admitted([*SERVICES, *objects], mesh=mesh).model
    instances = InstanceIndex()
    instances.follow(model.services)
    return translate(model, narrow(model, scope, instances))


def tracing_of(translation: Translation, listener: str = "0.0.0.0_8080") -> Any:
    """The tracing of the connection managers of a listener; None without."""
    made: Any = translation.messages[LISTENER_TYPE][listener]
    managers = [
        HttpConnectionManager.FromString(chain.filters[-1].typed_config.value)
        for chain in made.filter_chains
        if chain.filters[-1].typed_config.Is(HttpConnectionManager.DESCRIPTOR)
    ]
    assert managers
    found = [manager.tracing if manager.HasField("tracing") else None for manager in managers]
    assert all(each == found[0] for each in found)
    return found[0]


def exporter(tracing: Any) -> OpenTelemetryConfig:
    return OpenTelemetryConfig.FromString(tracing.provider.typed_config.value)


def test_nobody_is_traced_unless_asked() -> None:
    assert tracing_of(translated()) is None
    assert tracing_of(translated(make("Telemetry", "logs", {"accessLogging": [{}]}))) is None


def test_spans_go_to_the_first_provider_with_istios_sampling() -> None:
    asks = telemetry({})
    translation = translated(asks)
    for listener in ("0.0.0.0_8080", "virtualInbound"):
        tracing = tracing_of(translation, listener)
        assert (tracing.random_sampling.value, tracing.client_sampling.value, tracing.overall_sampling.value) == (
            1,
            100,
            100,
        )
        config = exporter(tracing)
        assert config.service_name == "reviews.shop"
        assert config.grpc_service.envoy_grpc.cluster_name == "outbound|4317||spans.shop"
        assert asks.key in translation.origins[LISTENER_TYPE, listener]
    assert not translation.problems


def test_a_provider_over_http() -> None:
    uri = exporter(tracing_of(translated(telemetry({"providers": [{"name": "web"}]})))).http_service.http_uri
    assert (uri.uri, uri.cluster) == ("http://web.shop:4318/v1/traces", "outbound|4318||web.shop")


def test_narrower_settings_stand_over_wider_ones_field_by_field() -> None:
    wide = telemetry(
        {
            "randomSamplingPercentage": 50,
            "providers": [{"name": "web"}],
            "customTags": {"a": {"literal": {"value": "1"}}},
        },
        namespace="istio-system",
    )
    own = telemetry({"randomSamplingPercentage": 0}, name="own")
    of_workload = telemetry(
        {"customTags": {"b": {"header": {"name": "x-b", "defaultValue": "2"}}, "c": {"environment": {"name": "HOME"}}}},
        name="workload",
        selector={"matchLabels": {"app": "reviews"}},
    )
    tracing = tracing_of(translated(wide, own, of_workload))
    assert tracing.random_sampling.value == 0
    assert exporter(tracing).http_service.http_uri.cluster == "outbound|4318||web.shop"
    assert [each.tag for each in tracing.custom_tags] == ["b", "c"]
    assert tracing.custom_tags[0].request_header.default_value == "2"
    assert tracing.custom_tags[1].environment.name == "HOME"
    assert tracing_of(translated(wide, of_workload)).random_sampling.value == 50


@pytest.mark.parametrize(
    ("mode", "outbound", "inbound"),
    [("CLIENT", True, False), ("SERVER", False, True), ("CLIENT_AND_SERVER", True, True)],
)
def test_sides(mode: str, outbound: bool, inbound: bool) -> None:
    translation = translated(telemetry({"match": {"mode": mode}}))
    assert (tracing_of(translation) is not None) == outbound
    assert (tracing_of(translation, "virtualInbound") is not None) == inbound


def test_reporting_may_be_switched_off_and_on_again() -> None:
    off = telemetry({"disableSpanReporting": True}, namespace="istio-system")
    assert tracing_of(translated(off)) is None
    assert tracing_of(translated(off, telemetry({"disableSpanReporting": False}))) is not None


def test_a_gateway_reports_as_a_client() -> None:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    edge = make("Gateway", "edge", {"selector": {"istio": "edge"}, "servers": [server]})
    scope = Scope(kind="gateway", labels=(("istio", "edge"),), cluster="edge")
    tracing = tracing_of(translated(edge, telemetry({"match": {"mode": "CLIENT"}}), scope=scope), "0.0.0.0_80")
    assert exporter(tracing).service_name == "edge"


@pytest.mark.parametrize(
    ("mesh", "provider", "said"),
    [
        (MeshSettings(), "", "not known (none is)"),
        (MESH, "other", "not known (otlp, web)"),
        (MeshSettings(tracing_providers=(TracingProvider("gone", "grpc", "gone.shop", 4317),)), "gone", "'gone.shop'"),
    ],
)
def test_a_provider_that_is_not_there_is_said_and_nothing_reported(
    mesh: MeshSettings, provider: str, said: str
) -> None:
    asks = telemetry({"providers": [{"name": provider}]} if provider else {})
    translation = translated(asks, mesh=mesh)
    assert tracing_of(translation) is None
    assert {(each.path, said in each.message) for each in translation.problems} == {("spec.tracing", True)}


def test_workloads_are_told_apart_only_where_spans_name_them() -> None:
    said = scope_of(Node(id="a", cluster="reviews.shop"))
    plain, traced = admitted(SERVICES).model, admitted([*SERVICES, telemetry({})]).model
    assert (said.cluster, narrow(plain, said, InstanceIndex()).cluster) == ("reviews.shop", "")
    assert narrow(traced, said, InstanceIndex()).cluster == "reviews.shop"


@pytest.mark.parametrize(
    ("tracing", "path"),
    [
        ({"randomSamplingPercentage": 101}, "randomSamplingPercentage"),
        ({"providers": [{"name": "a"}, {"name": "b"}]}, "providers"),
        ({"providers": [{}]}, "providers[0].name"),
        ({"customTags": {"a": {}}}, "customTags.a"),
        ({"customTags": {"a": {"literal": {}}}}, "customTags.a"),
        ({"customTags": {"a": {"header": {"name": "a b"}}}}, "customTags.a.header.name"),
        ({"customTags": {"a": {"formatter": {"value": "%REQ(a)%"}}}}, "customTags.a.formatter"),
        ({"enableIstioTags": False}, "enableIstioTags"),
        ({"useRequestIdForTraceSampling": False}, "useRequestIdForTraceSampling"),
    ],
)
def test_what_no_tracing_can_be(tracing: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as caught:
        telemetry(tracing)
    assert [each.path for each in caught.value.problems] == [f"spec.tracing[0].{path}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("otlp=grpc://spans.shop:4317", GRPC),
        ("web=http://web.shop:4318", HTTP),
        ("web=http://web.shop:4318/v1/traces", HTTP),
    ],
)
def test_providers_of_the_command_line(text: str, expected: TracingProvider) -> None:
    assert parse_tracing_provider(text, "--tracing-provider") == expected


@pytest.mark.parametrize(
    "text",
    [
        "otlp",
        "=grpc://a:1",
        "a=grpc://a",
        "a=grpc://a:1/x",
        "a=zipkin://a:1",
        "a=http://a:99999",
        "a=http://u@a:1",
        "a=http://a:1?b",
    ],
)
def test_what_is_no_provider(text: str) -> None:
    with pytest.raises(ConfigError, match="--tracing-provider"):
        parse_tracing_provider(text, "--tracing-provider")
