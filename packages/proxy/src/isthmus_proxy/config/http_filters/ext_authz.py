"""Compiles envoy.extensions.filters.http.ext_authz.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.authz.model import BodySettings, Fields, GrpcServer, HttpServer, Patterns
from isthmus_proxy.config.grpc_service import compile_grpc_service
from isthmus_proxy.config.header_edits import header_name
from isthmus_proxy.config.http_uri import compile_http_uri
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_fraction, compile_string
from isthmus_proxy.config.values import flag
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.ext_authz import ExtAuthzConfig, ExtAuthzPerRoute
from isthmus_proxy.runtime import Fraction

_DEFAULT_TIMEOUT = 0.2


def compile_ext_authz(proto: Any, path: str) -> ExtAuthzConfig:
    """Compile the filter's message. Raises ConfigError."""
    allowed = _optional(proto, "allowed_headers", path)
    server, older = _server(proto, path)
    status = int(proto.status_on_error.code)
    return ExtAuthzConfig(
        server,
        allow_on_failure=proto.failure_mode_allow,
        tell_of_failure=proto.failure_mode_allow_header_add,
        body=_body(proto.with_request_body, join(path, "with_request_body"))
        if proto.HasField("with_request_body")
        else None,
        clear_route_cache=proto.clear_route_cache,
        status_on_error=status or 403,
        allowed_headers=older if allowed is None else allowed,
        disallowed_headers=_optional(proto, "disallowed_headers", path) or (),
        metadata_namespaces=tuple(proto.metadata_context_namespaces),
        route_metadata_namespaces=tuple(proto.route_metadata_context_namespaces),
        enabled=compile_fraction(proto.filter_enabled) if proto.HasField("filter_enabled") else Fraction(100),
        stat_prefix=proto.stat_prefix,
        charge_cluster=flag(proto, "charge_cluster_response_stats", default=True),
        take_metadata=flag(proto, "enable_dynamic_metadata_ingestion", default=True),
    )


def compile_ext_authz_per_route(proto: Any, path: str) -> ExtAuthzPerRoute:
    """Compile a route's message. Raises ConfigError."""
    chosen = proto.WhichOneof("override")
    if chosen == "disabled" and proto.disabled:
        return ExtAuthzPerRoute(disabled=True)
    if chosen != "check_settings":
        raise ConfigError(path, "", "needs check_settings, or disabled: true")
    settings, place = proto.check_settings, join(path, "check_settings")
    extensions = settings.context_extensions
    body = None
    if settings.HasField("with_request_body"):
        body = _body(settings.with_request_body, join(place, "with_request_body"))
    return ExtAuthzPerRoute(
        context=tuple((name.encode(), extensions[name].encode()) for name in sorted(extensions)),
        without_body=settings.disable_request_body_buffering,
        body=body,
    )


def _server(proto: Any, path: str) -> tuple[HttpServer | GrpcServer, Patterns | None]:
    chosen = proto.WhichOneof("services")
    if chosen is None:
        raise ConfigError(path, "", "needs one of grpc_service and http_service")
    place = join(path, chosen)
    if chosen == "grpc_service":
        cluster, authority, timeout = compile_grpc_service(proto.grpc_service, place, _DEFAULT_TIMEOUT)
        return GrpcServer(cluster, timeout, authority), None
    service = proto.http_service
    uri = compile_http_uri(service.server_uri, join(place, "server_uri"))
    asks, answers = service.authorization_request, service.authorization_response
    there = join(place, "authorization_response")
    if service.path_prefix and not service.path_prefix.startswith("/"):
        raise ConfigError(join(place, "path_prefix"), shown(service.path_prefix), "must begin with a slash")
    server = HttpServer(
        uri.cluster,
        uri.timeout,
        service.path_prefix.encode(),
        _added(asks.headers_to_add, join(place, "authorization_request.headers_to_add")),
        _optional(answers, "allowed_upstream_headers", there) or (),
        _optional(answers, "allowed_upstream_headers_to_append", there) or (),
        _optional(answers, "allowed_client_headers", there) or (),
        _optional(answers, "allowed_client_headers_on_success", there) or (),
        _optional(answers, "dynamic_metadata_from_headers", there) or (),
    )
    return server, _optional(asks, "allowed_headers", join(place, "authorization_request"))


def _added(headers: Any, path: str) -> Fields:
    found = []
    for index, each in enumerate(headers):
        place = f"{path}[{index}]"
        if "%" in each.value:
            raise ConfigError(join(place, "value"), shown(each.value), "format commands are not supported here")
        found.append((header_name(each.key, join(place, "key")), each.value.encode()))
    return tuple(found)


def _optional(proto: Any, name: str, path: str) -> Patterns | None:
    if not proto.HasField(name):
        return None
    patterns, place = getattr(proto, name).patterns, join(path, name)
    return tuple(compile_string(each, f"{join(place, 'patterns')}[{i}]") for i, each in enumerate(patterns))


def _body(proto: Any, path: str) -> BodySettings:
    if proto.max_request_bytes < 1:
        raise ConfigError(join(path, "max_request_bytes"), shown(proto.max_request_bytes), "must be more than zero")
    return BodySettings(proto.max_request_bytes, proto.allow_partial_message, proto.pack_as_bytes)
