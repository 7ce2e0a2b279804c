"""Compiles http_filters of a connection manager: the filters before the router, which must be the last."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from isthmus_proxy.config.extensions import own_name_of, unpack, unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import HttpFilterConfig

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.stream_filter import FilterConfig

_HTTP = "envoy.extensions.filters.http"
_HERE = "isthmus_proxy.config.http_filters"
_ROUTER = f"{_HTTP}.router.v3.Router"

COMPILERS: dict[str, tuple[str, str]] = {
    f"{_HTTP}.bandwidth_limit.v3.BandwidthLimit": (f"{_HERE}.bandwidth_limit", "compile_bandwidth_limit"),
    f"{_HTTP}.buffer.v3.Buffer": (f"{_HERE}.buffer", "compile_buffer"),
    f"{_HTTP}.compressor.v3.Compressor": (f"{_HERE}.compression", "compile_compressor"),
    f"{_HTTP}.decompressor.v3.Decompressor": (f"{_HERE}.compression", "compile_decompressor"),
    f"{_HTTP}.cors.v3.Cors": (f"{_HERE}.cors", "compile_cors"),
    f"{_HTTP}.ext_authz.v3.ExtAuthz": (f"{_HERE}.ext_authz", "compile_ext_authz"),
    f"{_HTTP}.fault.v3.HTTPFault": (f"{_HERE}.fault", "compile_fault"),
    f"{_HTTP}.grpc_http1_bridge.v3.Config": (f"{_HERE}.grpc", "compile_grpc_http1_bridge"),
    f"{_HTTP}.health_check.v3.HealthCheck": (f"{_HERE}.health_check", "compile_health_check_filter"),
    f"{_HTTP}.grpc_stats.v3.FilterConfig": (f"{_HERE}.grpc", "compile_grpc_stats"),
    f"{_HTTP}.grpc_web.v3.GrpcWeb": (f"{_HERE}.grpc", "compile_grpc_web"),
    f"{_HTTP}.header_mutation.v3.HeaderMutation": (f"{_HERE}.header_mutation", "compile_header_mutation"),
    f"{_HTTP}.header_to_metadata.v3.Config": (f"{_HERE}.header_to_metadata", "compile_header_to_metadata"),
    f"{_HTTP}.jwt_authn.v3.JwtAuthentication": (f"{_HERE}.jwt_authn", "compile_jwt_authn"),
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": (f"{_HERE}.local_ratelimit", "compile_local_ratelimit"),
    f"{_HTTP}.ratelimit.v3.RateLimit": (f"{_HERE}.ratelimit", "compile_ratelimit"),
    f"{_HTTP}.rbac.v3.RBAC": (f"{_HERE}.rbac", "compile_rbac_filter"),
    "isthmus.filters.http.python": (f"{_HERE}.python", "compile_python"),
}
"""Full name of a filter's message -> (module, function): ``function(message, path)`` answers its FilterConfig."""


def compile_http_filters(proto: Any, path: str) -> tuple[tuple[HttpFilterConfig, ...], Any]:
    """The filters before the router, and the router's message. Raises ConfigError."""
    path = join(path, "http_filters")
    filters = list(proto.http_filters)
    if not filters:
        raise ConfigError(path, "", "the last filter must be the router, and there is none")
    last = len(filters) - 1
    for index, each in enumerate(filters):
        kind = each.WhichOneof("config_type")
        if kind == "config_discovery" and index == last:
            raise ConfigError(
                f"{path}[{index}].config_discovery", "", "the router cannot come over xDS; use typed_config"
            )
        if kind not in ("typed_config", "config_discovery"):
            raise ConfigError(f"{path}[{index}].typed_config", "", "is required")
    _refuse_twice(filters, path)
    if filters[last].disabled:
        raise ConfigError(f"{path}[{last}].disabled", "true", "the router cannot be disabled")
    router = unpack_as(filters[last].typed_config, f"{path}[{last}].typed_config", _ROUTER)
    return tuple(_filter(each, f"{path}[{index}]") for index, each in enumerate(filters[:-1])), router


def _refuse_twice(filters: list[Any], path: str) -> None:
    """One listener's filters of one name would get the same configuration under different rules."""
    found: set[str] = set()
    for index, each in enumerate(filters):
        if each.WhichOneof("config_type") != "config_discovery":
            continue
        if each.name in found:
            reason = "another filter here takes its configuration under the same name; give each its own"
            raise ConfigError(f"{path}[{index}].name", shown(each.name), reason)
        found.add(each.name)


def _filter(proto: Any, path: str) -> HttpFilterConfig:
    if proto.WhichOneof("config_type") == "config_discovery":
        from isthmus_proxy.config.extension_source import compile_discovered  # noqa: PLC0415 - few configurations have any

        return HttpFilterConfig(proto.name, compile_discovered(proto, path), proto.disabled)
    return HttpFilterConfig(proto.name, compile_filter(proto.typed_config, join(path, "typed_config")), proto.disabled)


def compile_filter(packed: Any, path: str) -> FilterConfig:
    """The configuration of a filter that is not the router. Raises ConfigError."""
    name = own_name_of(packed, path)
    if name == _ROUTER:
        raise ConfigError(path, name, "the router must be the last filter, and there can be one only")
    if name not in COMPILERS:
        reason = "is no HTTP filter that is supported; see docs/reference/proxy-http.md"
        raise ConfigError(path, shown(name or "(no type URL)"), reason)
    module, function = COMPILERS[name]
    compiler: Callable[[Any, str], FilterConfig] = getattr(import_module(module), function)
    return compiler(unpack(packed, path), path)
