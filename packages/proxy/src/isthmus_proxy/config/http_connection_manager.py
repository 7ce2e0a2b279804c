"""Compiles the HTTP connection manager (envoy.extensions.filters.network.http_connection_manager.v3)."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.access_log import compile_access_logs
from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route import compile_route_configuration
from isthmus_proxy.config.values import enum_name, flag, number, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, RdsReference
from isthmus_proxy.route.model import RouteConfiguration

_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_UPGRADES = frozenset(("websocket",))


def compile_http_connection_manager(proto: Any, path: str) -> HttpConnectionManagerConfig:
    """Compile a checked message. Raises ConfigError."""
    router = _router(proto, path)
    options = proto.common_http_protocol_options
    place = join(path, "common_http_protocol_options")
    return HttpConnectionManagerConfig(
        stat_prefix=required(proto, "stat_prefix", path),
        route=_route(proto, path),
        access_logs=compile_access_logs(proto.access_log, join(path, "access_log")),
        server_name=(proto.server_name or "envoy").encode(),
        server_header_transformation=enum_name(proto, "server_header_transformation"),
        via=proto.via.encode(),
        use_remote_address=flag(proto, "use_remote_address", default=False),
        xff_num_trusted_hops=proto.xff_num_trusted_hops,
        skip_xff_append=proto.skip_xff_append,
        generate_request_id=flag(proto, "generate_request_id", default=True),
        preserve_external_request_id=proto.preserve_external_request_id,
        always_set_request_id_in_response=proto.always_set_request_id_in_response,
        idle_timeout=seconds(options, "idle_timeout", 3600.0, place),
        max_requests_per_connection=number(options, "max_requests_per_connection", 0, place),
        max_headers_count=number(options, "max_headers_count", 100, place, low=1),
        stream_idle_timeout=seconds(proto, "stream_idle_timeout", 300.0, path),
        request_timeout=seconds(proto, "request_timeout", 0.0, path),
        request_headers_timeout=seconds(proto, "request_headers_timeout", 0.0, path),
        drain_timeout=seconds(proto, "drain_timeout", 5.0, path),
        delayed_close_timeout=seconds(proto, "delayed_close_timeout", 1.0, path),
        max_request_headers_kb=_headers_kb(proto, path),
        accept_http_10=proto.http_protocol_options.accept_http_10,
        upgrade_types=_upgrades(proto, path),
        suppress_envoy_headers=router.suppress_envoy_headers,
    )


def _router(proto: Any, path: str) -> Any:
    path = join(path, "http_filters")
    if len(proto.http_filters) != 1:
        raise ConfigError(path, f"{len(proto.http_filters)} filters", "exactly one, the router, is supported")
    chosen = proto.http_filters[0]
    if chosen.WhichOneof("config_type") != "typed_config":
        raise ConfigError(f"{path}[0].typed_config", "", "is required")
    return unpack_as(chosen.typed_config, f"{path}[0].typed_config", _ROUTER)


def _route(proto: Any, path: str) -> RouteConfiguration | RdsReference:
    chosen = proto.WhichOneof("route_specifier")
    if chosen == "route_config":
        return compile_route_configuration(proto.route_config, join(path, chosen), inline=True)
    if chosen != "rds":
        raise ConfigError(path, "", "needs one of route_config and rds")
    path = join(path, chosen)
    source = proto.rds.config_source
    refuse_other_than_ads(source, join(path, "config_source"))
    return RdsReference(
        required(proto.rds, "route_config_name", path),
        seconds(source, "initial_fetch_timeout", 15.0, join(path, "config_source")),
    )


def refuse_other_than_ads(source: Any, path: str) -> None:
    """Raise ConfigError unless the core.v3.ConfigSource is ``ads``."""
    if source.WhichOneof("config_source_specifier") != "ads":
        raise ConfigError(
            path, shown(source.WhichOneof("config_source_specifier") or ""), "only ads is supported: ads: {}"
        )


def _headers_kb(proto: Any, path: str) -> int:
    limit = number(proto, "max_request_headers_kb", 60, path, low=1)
    if limit > 8192:
        raise ConfigError(join(path, "max_request_headers_kb"), str(limit), "must be at most 8192")
    return limit


def _upgrades(proto: Any, path: str) -> frozenset[bytes]:
    found = set()
    for index, upgrade in enumerate(proto.upgrade_configs):
        name = upgrade.upgrade_type.lower()
        if name not in _UPGRADES:
            place = f"{join(path, 'upgrade_configs')}[{index}].upgrade_type"
            raise ConfigError(place, shown(upgrade.upgrade_type), "only websocket is supported")
        if flag(upgrade, "enabled", default=True):
            found.add(name.encode())
    return frozenset(found)
