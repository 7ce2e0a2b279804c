"""Compiles tracing: HttpConnectionManager.Tracing with its provider, and what routes say of it."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, flag, number, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.trace.model import Collector, CustomTag, RouteTracing, TracingConfig

_OPENTELEMETRY = "envoy.config.trace.v3.OpenTelemetryConfig"
_ZIPKIN = "envoy.config.trace.v3.ZipkinConfig"
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
_MOST_WAITING = 65_536
MAX_TAGS = 64


def compile_tracing(proto: Any, path: str) -> TracingConfig | None:
    """The tracing of a checked connection manager; None without. Raises ConfigError."""
    if not proto.HasField("tracing"):
        return None
    tracing, path = proto.tracing, join(path, "tracing")
    if not tracing.HasField("provider"):
        raise ConfigError(
            join(path, "provider"), "", "is required: envoy.tracers.opentelemetry or envoy.tracers.zipkin"
        )
    return TracingConfig(
        _collector(tracing.provider, join(path, "provider")),
        client_sampling=_per_cent(tracing, "client_sampling", "tracing.client_enabled", path),
        random_sampling=_per_cent(tracing, "random_sampling", "tracing.random_sampling", path),
        overall_sampling=_per_cent(tracing, "overall_sampling", "tracing.global_enabled", path),
        max_path_tag_length=number(tracing, "max_path_tag_length", 256, path),
        custom_tags=_tags(tracing.custom_tags, join(path, "custom_tags")),
    )


def compile_route_tracing(route: Any, path: str) -> RouteTracing | None:
    """config.route.v3.Tracing of a route; None without."""
    if not route.HasField("tracing"):
        return None
    tracing, path = route.tracing, join(path, "tracing")
    return RouteTracing(
        client_sampling=_fraction(tracing, "client_sampling", "tracing.client_enabled"),
        random_sampling=_fraction(tracing, "random_sampling", "tracing.random_sampling"),
        overall_sampling=_fraction(tracing, "overall_sampling", "tracing.global_enabled"),
        custom_tags=_tags(tracing.custom_tags, join(path, "custom_tags")),
    )


def _per_cent(message: Any, name: str, key: str, path: str) -> Fraction:
    """A type.v3.Percent, which counts in hundredths."""
    value = getattr(message, name).value if message.HasField(name) else 100.0
    if not 0.0 <= value <= 100.0:
        raise ConfigError(f"{join(path, name)}.value", str(value), "must be from 0 to 100")
    return Fraction(int(value * 100), 10_000, key)


def _fraction(message: Any, name: str, key: str) -> Fraction:
    if not message.HasField(name):
        return Fraction(10_000, 10_000, key)
    value = getattr(message, name)
    return Fraction(value.numerator, _DENOMINATORS[enum_name(value, "denominator")], key)


def _collector(provider: Any, path: str) -> Collector:
    place = join(path, "typed_config")
    config: Any = unpack_as(provider.typed_config, place, _OPENTELEMETRY, _ZIPKIN)
    return _zipkin(config, place) if config.DESCRIPTOR.full_name == _ZIPKIN else _opentelemetry(config, place)


def _opentelemetry(config: Any, path: str) -> Collector:
    waiting = number(config, "max_cache_size", 1024, path, low=1)
    if waiting > _MOST_WAITING:
        raise ConfigError(join(path, "max_cache_size"), str(waiting), f"must be at most {_MOST_WAITING}")
    name = config.service_name or "unknown_service:envoy"
    grpc, http = config.HasField("grpc_service"), config.HasField("http_service")
    if grpc == http:
        raise ConfigError(path, "", "needs one of grpc_service and http_service")
    if grpc:
        place = join(path, "grpc_service.envoy_grpc")
        cluster = required(config.grpc_service.envoy_grpc, "cluster_name", place)
        return Collector("otlp_grpc", cluster, cluster, _EXPORT, max_spans=waiting, service_name=name)
    place, uri = join(path, "http_service.http_uri"), config.http_service.http_uri
    parts = urlsplit(required(uri, "uri", place))
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise ConfigError(join(place, "uri"), shown(uri.uri), "must be an http URI with a host")
    return Collector(
        "otlp_http",
        required(uri, "cluster", place),
        parts.netloc,
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        timeout=seconds(uri, "timeout", 5.0, place) or 5.0,
        max_spans=waiting,
        headers=_headers(config.http_service, join(path, "http_service")),
        service_name=name,
    )


def _headers(service: Any, path: str) -> tuple[tuple[bytes, bytes], ...]:
    found: list[tuple[bytes, bytes]] = []
    for index, option in enumerate(service.request_headers_to_add):
        place = f"{join(path, 'request_headers_to_add')}[{index}].header"
        name, value = required(option.header, "key", place), option.header.value
        if not (name + value).isascii() or not (name + value).isprintable() or " " in name or ":" in name:
            raise ConfigError(place, shown(f"{name}: {value}"), "must be a name and a value of printable ASCII")
        if "%" in value:
            raise ConfigError(join(place, "value"), shown(value), "format commands are not supported here")
        found.append((name.lower().encode(), value.encode()))
    return tuple(found)


def _zipkin(config: Any, path: str) -> Collector:
    cluster = required(config, "collector_cluster", path)
    endpoint = required(config, "collector_endpoint", path)
    if not endpoint.startswith("/") or not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        raise ConfigError(join(path, "collector_endpoint"), shown(endpoint), "must be a path such as /api/v2/spans")
    return Collector(
        "zipkin",
        cluster,
        config.collector_hostname or cluster,
        endpoint,
        trace_id_128bit=config.trace_id_128bit,
        shared_span_context=flag(config, "shared_span_context", default=True),
    )


def _tags(tags: Any, path: str) -> tuple[CustomTag, ...]:
    if len(tags) > MAX_TAGS:
        raise ConfigError(path, f"{len(tags)} tags", f"at most {MAX_TAGS} are supported")
    return tuple(_tag(each, f"{path}[{index}]") for index, each in enumerate(tags))


def _tag(proto: Any, path: str) -> CustomTag:
    tag = required(proto, "tag", path)
    kind = proto.WhichOneof("type")
    if kind == "literal":
        return CustomTag(tag, required(proto.literal, "value", join(path, kind)))
    if kind == "environment":
        name = required(proto.environment, "name", join(path, kind))
        return CustomTag(tag, os.environ.get(name) or proto.environment.default_value)
    if kind == "request_header":
        header = required(proto.request_header, "name", join(path, kind))
        return CustomTag(tag, proto.request_header.default_value, header.lower().encode())
    raise ConfigError(path, shown(kind or ""), "needs one of literal, environment and request_header")
