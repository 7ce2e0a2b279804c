"""Spans of the requests that pass listeners, as Telemetry asks for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.trace.v3.http_tracer_pb2 import Tracing as EnvoyTracing
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from google.protobuf.duration_pb2 import Duration

from isthmus_api.istio.telemetry.v1alpha1 import telemetry_pb2
from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.policies import narrowest_last
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.tracing import TracingProvider
from isthmus_controlplane.stores.base import ConfigObject, Problem
from isthmus_controlplane.translate.collector import Collector
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.names import cluster_name
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE

DEFAULT_SAMPLING = 1.0  # per cent, Istio's
_REPORT_TIMEOUT_S = 10
_CLIENT, _SERVER = telemetry_pb2.CLIENT, telemetry_pb2.SERVER


@dataclasses.dataclass(frozen=True, slots=True)
class _Spans:
    """What holds for one side.

    Attributes:
        decided_by: the narrowest Telemetry that says something.
        provider: name of the provider; empty for the first of the mesh.
        sampling: per cent of the requests that nobody has decided of before.
        reported: whether spans are sent at all.
        tags: ``CustomTag`` by name.
    """

    decided_by: ConfigObject
    provider: str = ""
    sampling: float = DEFAULT_SAMPLING
    reported: bool = True
    tags: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Tracing:
    """Which sides of a scope report spans, where to, and who says so."""

    def __init__(self, model: Model, scope: Scope) -> None:
        self._providers = model.mesh.tracing_providers
        self._scope = scope
        self._sides: dict[int, _Spans] = {}
        labels = dict(scope.labels)
        holding = model.by_label.holding("Telemetry", scope.namespace, labels) if scope.kind != "grpc" else []
        for policy in narrowest_last(holding):
            spec: Any = policy.spec
            for tracing in spec.tracing:
                for side in (_CLIENT, _SERVER) if not tracing.match.mode else (tracing.match.mode,):
                    self._sides[side] = _over(self._sides.get(side), tracing, policy)

    def add(self, out: Collector) -> None:
        """Let the connection managers of the listeners report spans."""
        made = {side: (spans, self._config(spans, out)) for side, spans in self._sides.items()}
        for name, message in out.messages(LISTENER_TYPE).items() if made else ():
            inbound = message.traffic_direction == TrafficDirection.INBOUND  # type: ignore[attr-defined]
            found = made.get(_SERVER if inbound else _CLIENT)
            if found is not None and found[1] is not None:
                listener: Any = type(message)()
                listener.CopyFrom(message)
                if _trace(listener.filter_chains, found[1]):
                    out.replace(LISTENER_TYPE, name, listener, found[0].decided_by.key)

    def _config(self, spans: _Spans, out: Collector) -> Any:
        """Return the ``HttpConnectionManager.Tracing``; None where there is nothing to report, or nobody to report to."""
        if not spans.reported:
            return None
        named = [each for each in self._providers if spans.provider in {"", each.name}]
        known = ", ".join(each.name for each in self._providers) or "none is"
        if not named:
            return self._refuse(
                out, spans, f"the provider {spans.provider!r} is not known ({known}): add it by --tracing-provider"
            )
        provider = named[0]
        cluster = cluster_name(provider.port, "", provider.host)
        if not out.has(CLUSTER_TYPE, cluster):
            what = f"port {provider.port} of {provider.host!r}, where {provider.name!r} is"
            return self._refuse(
                out, spans, f"{what}, is not known to nodes in {self._scope.namespace!r}: add a ServiceEntry"
            )
        made = HttpConnectionManager.Tracing(custom_tags=_tags(spans.tags))
        made.client_sampling.value = made.overall_sampling.value = 100
        made.random_sampling.value = spans.sampling
        exporter = _exporter(provider, cluster, self._scope.cluster)
        made.provider.CopyFrom(EnvoyTracing.Http(name="envoy.tracers.opentelemetry", typed_config=packed(exporter)))
        return made

    def _refuse(self, out: Collector, spans: _Spans, why: str) -> None:
        origin = f"{spans.decided_by.origin} ({spans.decided_by.key})"
        out.report(Problem(origin, "spec.tracing", f"{why}; until then no spans are reported"))


def _over(wider: _Spans | None, tracing: Any, policy: ConfigObject) -> _Spans:
    """Lay a setting over that of a wider policy: what it does not say stays."""
    base = dataclasses.replace(wider, decided_by=policy) if wider is not None else _Spans(policy)
    changes: dict[str, Any] = {}
    if tracing.providers:
        changes["provider"] = tracing.providers[0].name
    if tracing.HasField("random_sampling_percentage"):
        changes["sampling"] = tracing.random_sampling_percentage.value
    if tracing.HasField("disable_span_reporting"):
        changes["reported"] = not tracing.disable_span_reporting.value
    if tracing.custom_tags:
        changes["tags"] = dict(tracing.custom_tags)
    return dataclasses.replace(base, **changes)


def _tags(tags: Mapping[str, Any]) -> list[Any]:
    found = []
    for name, tag in sorted(tags.items()):
        made = CustomTag(tag=name)
        match tag.WhichOneof("type"):
            case "literal":
                made.literal.value = tag.literal.value
            case "environment":
                made.environment.name, made.environment.default_value = (
                    tag.environment.name,
                    tag.environment.default_value,
                )
            case _:
                made.request_header.name, made.request_header.default_value = tag.header.name, tag.header.default_value
        found.append(made)
    return found


def _exporter(provider: TracingProvider, cluster: str, service: str) -> Any:
    config = OpenTelemetryConfig(service_name=service)
    timeout = Duration(seconds=_REPORT_TIMEOUT_S)
    if provider.transport == "grpc":
        config.grpc_service.envoy_grpc.cluster_name = cluster
        config.grpc_service.envoy_grpc.authority = provider.host
        config.grpc_service.timeout.CopyFrom(timeout)
        return config
    uri = config.http_service.http_uri
    uri.uri = f"http://{provider.host}:{provider.port}{provider.path}"
    uri.cluster = cluster
    uri.timeout.CopyFrom(timeout)
    return config


def _trace(chains: Iterable[Any], tracing: Any) -> bool:
    """Put tracing on the connection managers; says whether there is any."""
    found = False
    for chain in chains:
        terminal = chain.filters[-1]
        if terminal.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
            manager: Any = HttpConnectionManager.FromString(terminal.typed_config.value)
            manager.tracing.CopyFrom(tracing)
            terminal.typed_config.CopyFrom(packed(manager))
            found = True
    return found
