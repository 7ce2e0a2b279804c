"""Compiles typed_per_filter_config of route configurations, virtual hosts, routes and weighted clusters.

Which messages may stand there, and who compiles each, is the table ``COMPILERS``. A message that is not in it is refused,
unless it is wrapped into a FilterConfig that says ``is_optional``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from isthmus_proxy.config.check import check
from isthmus_proxy.config.extensions import name_of, own_name_of, unpack
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.filter_overrides import FilterOverride, FilterOverrides

_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"

_HTTP = "envoy.extensions.filters.http"
_HERE = "isthmus_proxy.config.http_filters"

COMPILERS: dict[str, tuple[str, str]] = {
    f"{_HTTP}.bandwidth_limit.v3.BandwidthLimit": (
        f"{_HERE}.bandwidth_limit",
        "compile_bandwidth_limit_per_route",
    ),
    f"{_HTTP}.buffer.v3.BufferPerRoute": (f"{_HERE}.buffer", "compile_buffer_per_route"),
    f"{_HTTP}.compressor.v3.CompressorPerRoute": (f"{_HERE}.compression", "compile_compressor_per_route"),
    f"{_HTTP}.cors.v3.CorsPolicy": (f"{_HERE}.cors", "compile_cors_policy"),
    f"{_HTTP}.ext_authz.v3.ExtAuthzPerRoute": (f"{_HERE}.ext_authz", "compile_ext_authz_per_route"),
    f"{_HTTP}.fault.v3.HTTPFault": (f"{_HERE}.fault", "compile_fault"),
    f"{_HTTP}.header_mutation.v3.HeaderMutationPerRoute": (
        f"{_HERE}.header_mutation",
        "compile_header_mutation_per_route",
    ),
    f"{_HTTP}.jwt_authn.v3.PerRouteConfig": (f"{_HERE}.jwt_authn", "compile_jwt_per_route"),
    f"{_HTTP}.header_to_metadata.v3.Config": (f"{_HERE}.header_to_metadata", "compile_header_to_metadata"),
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": (f"{_HERE}.local_ratelimit", "compile_local_ratelimit"),
    f"{_HTTP}.ratelimit.v3.RateLimitPerRoute": (f"{_HERE}.ratelimit", "compile_ratelimit_per_route"),
    f"{_HTTP}.rbac.v3.RBACPerRoute": (f"{_HERE}.rbac", "compile_rbac_per_route"),
    "isthmus.filters.http.python": (f"{_HERE}.python", "compile_python_per_route"),
}
"""Full name of a per-route message -> (module, function) that makes of it what its filter reads: ``function(message, path)``.

A function raises ConfigError below ``path``; what it returns is immutable. Modules are imported when a configuration needs
them.
"""


def compile_overrides(message: Any, path: str, compilers: Mapping[str, tuple[str, str]] = COMPILERS) -> FilterOverrides:
    """Compile the ``typed_per_filter_config`` of ``message``."""
    entries = message.typed_per_filter_config
    if not entries:
        return {}
    place = join(path, "typed_per_filter_config")
    compiled: dict[str, FilterOverride] = {}
    for name in entries:
        entry = _entry(entries[name], f'{place}["{name}"]', compilers)
        if entry is not None:
            compiled[name] = entry
    return compiled


def _entry(packed: Any, path: str, compilers: Mapping[str, tuple[str, str]]) -> FilterOverride | None:
    if name_of(packed.type_url) != _FILTER_CONFIG:
        return FilterOverride(_config(packed, path, compilers))
    wrapper: Any = unpack(packed, path)
    if wrapper.disabled:
        return FilterOverride(disabled=True)
    if not wrapper.HasField("config"):
        raise ConfigError(join(path, "config"), "", "is required unless the entry is disabled")
    if wrapper.is_optional and own_name_of(wrapper.config, path) not in compilers:
        return None
    return FilterOverride(_config(wrapper.config, join(path, "config"), compilers))


def _config(packed: Any, path: str, compilers: Mapping[str, tuple[str, str]]) -> object:
    name = own_name_of(packed, path)
    if name not in compilers:
        raise ConfigError(
            path,
            shown(name or "(no type URL)"),
            "is no per-route configuration of a filter that is supported; see docs/reference/proxy.md",
        )
    unpacked = unpack(packed, path)
    check(unpacked, path)
    module, function = compilers[name]
    compiler: Callable[[Any, str], object] = getattr(import_module(module), function)
    return compiler(unpacked, path)
