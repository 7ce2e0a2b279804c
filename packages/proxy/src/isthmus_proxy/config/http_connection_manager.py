"""Compiles the HTTP connection manager (envoy.extensions.filters.network.http_connection_manager.v3)."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.access_log import compile_access_logs
from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.header_key_format import compile_header_key_format
from isthmus_proxy.config.http2_options import compile_http2_options
from isthmus_proxy.config.http_filter import compile_http_filters
from isthmus_proxy.config.ip_ranges import compile_ranges
from isthmus_proxy.config.local_replies import compile_local_replies
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.config.source import compile_source
from isthmus_proxy.config.tracing import compile_tracing
from isthmus_proxy.config.upgrades import compile_upgrades
from isthmus_proxy.config.values import enum_name, flag, number, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, RdsReference, ScopedRoutesConfig
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.trace.model import TracingConfig

_XFF = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"


def compile_http_connection_manager(proto: Any, path: str) -> HttpConnectionManagerConfig:
    """Compile a checked message. Raises ConfigError."""
    filters, router = compile_http_filters(proto, path)
    options = proto.common_http_protocol_options
    http1 = proto.http_protocol_options
    place = join(path, "common_http_protocol_options")
    return HttpConnectionManagerConfig(
        stat_prefix=required(proto, "stat_prefix", path),
        route=compile_all_routes(proto, path),
        access_logs=compile_access_logs(proto.access_log, join(path, "access_log")),
        server_name=(proto.server_name or "envoy").encode(),
        server_header_transformation=enum_name(proto, "server_header_transformation"),
        via=_header_value(proto, "via", path),
        codec_type=enum_name(proto, "codec_type"),
        http2=compile_http2_options(
            proto.http2_protocol_options,
            join(path, "http2_protocol_options"),
            max_list_size=_headers_kb(proto, path) * 1024,
            max_fields=number(options, "max_headers_count", 100, place, low=1),
        ),
        idle_timeout=seconds(options, "idle_timeout", 3600.0, place),
        max_connection_duration=seconds(options, "max_connection_duration", 0.0, place),
        max_requests_per_connection=number(options, "max_requests_per_connection", 0, place),
        max_headers_count=number(options, "max_headers_count", 100, place, low=1),
        headers_with_underscores_action=enum_name(options, "headers_with_underscores_action"),
        stream_idle_timeout=seconds(proto, "stream_idle_timeout", 300.0, path),
        request_timeout=seconds(proto, "request_timeout", 0.0, path),
        request_headers_timeout=seconds(proto, "request_headers_timeout", 0.0, path),
        drain_timeout=seconds(proto, "drain_timeout", 5.0, path),
        delayed_close_timeout=seconds(proto, "delayed_close_timeout", 1.0, path),
        max_request_headers_kb=_headers_kb(proto, path),
        accept_http_10=http1.accept_http_10,
        default_host_for_http_10=_header_value(http1, "default_host_for_http_10", join(path, "http_protocol_options")),
        enable_trailers=http1.enable_trailers,
        header_key_format=compile_header_key_format(http1, join(path, "http_protocol_options")),
        local_replies=compile_local_replies(proto, path),
        allow_absolute_url=flag(http1, "allow_absolute_url", default=True),
        keep_connection_on_bad_request=_keeps_connection(proto),
        proxy_informational=proto.proxy_100_continue,
        upgrade_types=frozenset(name for name, enabled in compile_upgrades(proto, path) if enabled),
        suppress_envoy_headers=router.suppress_envoy_headers,
        tracing=_tracing(proto, router, path),
        http_filters=filters,
        **_client_options(proto, path),
        **_target_options(proto, path),
    )


def _tracing(proto: Any, router: Any, path: str) -> TracingConfig | None:
    tracing = compile_tracing(proto, path)
    if tracing is not None and router.start_child_span:
        place = join(path, "http_filters[0].typed_config.start_child_span")
        raise ConfigError(place, "true", "upstream requests have no span of their own; leave it out")
    return tracing


def _client_options(proto: Any, path: str) -> dict[str, Any]:
    """What decides on who the client is, and on what it is told of the request's identity."""
    use_remote_address = flag(proto, "use_remote_address", default=False)
    hops, skip = proto.xff_num_trusted_hops, proto.skip_xff_append
    if proto.original_ip_detection_extensions:
        hops, skip = _detection(proto, use_remote_address, path)
    return {
        "use_remote_address": use_remote_address,
        "xff_num_trusted_hops": hops,
        "skip_xff_append": skip,
        "internal_ranges": compile_ranges(
            proto.internal_address_config.cidr_ranges, join(path, "internal_address_config.cidr_ranges")
        ),
        "append_x_forwarded_port": proto.append_x_forwarded_port,
        "forward_client_cert": enum_name(proto, "forward_client_cert_details"),
        "client_cert_details": _client_cert_details(proto.set_current_client_cert_details),
        "generate_request_id": flag(proto, "generate_request_id", default=True),
        "preserve_external_request_id": proto.preserve_external_request_id,
        "always_set_request_id_in_response": proto.always_set_request_id_in_response,
    }


def _client_cert_details(proto: Any) -> frozenset[str]:
    subject = {"subject"} if flag(proto, "subject", default=False) else set()
    return frozenset(subject | {name for name in ("cert", "dns", "uri") if getattr(proto, name)})


def _detection(proto: Any, use_remote_address: bool, path: str) -> tuple[int, bool]:
    """Trusted hops and skip_xff_append of the one detection extension there may be."""
    path = join(path, "original_ip_detection_extensions")
    if use_remote_address or proto.xff_num_trusted_hops:
        reason = "cannot be used together with use_remote_address or xff_num_trusted_hops"
        raise ConfigError(path, "", reason)
    if len(proto.original_ip_detection_extensions) > 1:
        raise ConfigError(path, f"{len(proto.original_ip_detection_extensions)} extensions", "at most one is supported")
    place = f"{path}[0].typed_config"
    config: Any = unpack_as(proto.original_ip_detection_extensions[0].typed_config, place, _XFF)
    return int(config.xff_num_trusted_hops), flag(config, "skip_xff_append", default=True)


def _target_options(proto: Any, path: str) -> dict[str, Any]:
    """What changes path, authority and scheme before a request is routed."""
    if proto.strip_matching_host_port and proto.WhichOneof("strip_port_mode"):
        raise ConfigError(
            join(path, "strip_any_host_port"), "true", "cannot be set together with strip_matching_host_port"
        )
    scheme = proto.scheme_header_transformation.scheme_to_overwrite
    if scheme not in ("", "http", "https"):
        place = join(path, "scheme_header_transformation.scheme_to_overwrite")
        raise ConfigError(place, shown(scheme), "must be http or https")
    action = enum_name(proto, "path_with_escaped_slashes_action")
    unchanged = action in ("IMPLEMENTATION_SPECIFIC_DEFAULT", "KEEP_UNCHANGED")
    matching = "matching" if proto.strip_matching_host_port else ""
    return {
        "normalize_path": flag(proto, "normalize_path", default=False),
        "merge_slashes": proto.merge_slashes,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED" if unchanged else action,
        "strip_port": "any" if proto.strip_any_host_port else matching,
        "strip_trailing_host_dot": proto.strip_trailing_host_dot,
        "scheme_to_overwrite": scheme.encode(),
    }


def _keeps_connection(proto: Any) -> bool:
    """Whether a request that is refused with 400 leaves its connection open."""
    manager = flag(proto, "stream_error_on_invalid_http_message", default=False)
    return flag(proto.http_protocol_options, "override_stream_error_on_invalid_http_message", default=manager)


def _header_value(message: Any, name: str, path: str) -> bytes:
    value = str(getattr(message, name))
    if not value.isprintable() or not value.isascii():
        raise ConfigError(join(path, name), shown(value), "must be printable ASCII")
    return value.encode()


def compile_all_routes(proto: Any, path: str) -> RouteConfiguration | RdsReference | ScopedRoutesConfig:
    """The same, or scopes that choose among several. Raises ConfigError."""
    if not proto.HasField("scoped_routes"):
        return compile_routes(proto, path)
    from isthmus_proxy.config.scoped_routes import compile_scoped_routes  # noqa: PLC0415 - few configurations have any

    return compile_scoped_routes(proto.scoped_routes, join(path, "scoped_routes"))


def compile_routes(proto: Any, path: str) -> RouteConfiguration | RdsReference:
    """The routes of a connection manager: its own, or where they come from. Raises ConfigError."""
    chosen = proto.WhichOneof("route_specifier")
    if chosen == "route_config":
        return compile_route_configuration(proto.route_config, join(path, chosen), inline=True)
    if chosen != "rds":
        raise ConfigError(path, "", "needs one of route_config, rds and scoped_routes")
    path = join(path, chosen)
    source, place = proto.rds.config_source, join(path, "config_source")
    return RdsReference(
        required(proto.rds, "route_config_name", path),
        seconds(source, "initial_fetch_timeout", 15.0, place),
        compile_source(source, place),
    )


def _headers_kb(proto: Any, path: str) -> int:
    limit = number(proto, "max_request_headers_kb", 60, path, low=1)
    if limit > 8192:
        raise ConfigError(join(path, "max_request_headers_kb"), str(limit), "must be at most 8192")
    return limit
