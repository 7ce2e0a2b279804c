"""Compiles isthmus.network.rpc_proxy.v1.RpcProxy and the inspector beside it, both written as xds.type.v3.TypedStruct.

Envoy lacks them. The fields of the proxy are those of the HTTP connection manager that mean something for remote calls
(``stat_prefix``, ``route_config`` or ``rds``, ``access_log``, ``tracing``, and ``http_filters`` that read heads alone), checked
against the same tables, and its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from isthmus_proxy.config.access_log import compile_access_logs
from isthmus_proxy.config.check import check
from isthmus_proxy.config.extensions import name_of, own_name_of
from isthmus_proxy.config.http_connection_manager import compile_routes
from isthmus_proxy.config.http_filter import compile_http_filters
from isthmus_proxy.config.parse import fill, join, shown
from isthmus_proxy.config.tracing import compile_tracing
from isthmus_proxy.config.typed_struct import plain_fields, struct_flag, struct_integer, struct_seconds
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import HttpFilterConfig, RpcInspectorConfig, RpcProxyConfig
from isthmus_proxy.listener.rpc_detection import TR
from isthmus_proxy.rpc.codecs import codec_names, sends_goaway
from isthmus_proxy.rpc.model import HeartbeatConfig, PoolMode, RpcLimits

RPC_PROXY = "isthmus.network.rpc_proxy.v1.RpcProxy"
RPC_INSPECTOR = "isthmus.listener.rpc_inspector.v1.RpcInspector"
_SHARED = ("stat_prefix", "route_config", "rds", "access_log", "tracing", "http_filters")
_OWN = (
    "codec",
    "pool_mode",
    "heartbeat",
    "max_frame_bytes",
    "idle_timeout",
    "connections_per_endpoint",
    "goaway",
    "verify_crc",
    "timeout_header",
    "route_cache",
)
_HTTP = "envoy.extensions.filters.http"
_FILTERS = (
    f"{_HTTP}.fault.v3.HTTPFault",
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit",
    f"{_HTTP}.rbac.v3.RBAC",
    f"{_HTTP}.router.v3.Router",
)
_MAX_FRAME_BYTES = 1 << 30


def compile_rpc_proxy(struct: Any, path: str) -> RpcProxyConfig:
    """Compile a TypedStruct. Raises ConfigError."""
    if name_of(struct.type_url) != RPC_PROXY:
        raise ConfigError(join(path, "type_url"), shown(struct.type_url), f"only {RPC_PROXY} is supported here")
    place = join(path, "value")
    value = plain_fields(struct.value)
    for name in value:
        if name not in _SHARED and name not in _OWN:
            known = ", ".join((*_SHARED, *_OWN))
            raise ConfigError(join(place, name), "", f"is not a field of {RPC_PROXY}; it has {known}")
    manager = _manager({name: value[name] for name in _SHARED if name in value}, place)
    codec = _codec(value.get("codec"), join(place, "codec"))
    return RpcProxyConfig(
        stat_prefix=required(manager, "stat_prefix", place),
        route=compile_routes(manager, place),
        codec=codec,
        access_logs=compile_access_logs(manager.access_log, join(place, "access_log")),
        pool_mode=_pool_mode(value.get("pool_mode", "MULTIPLEX"), join(place, "pool_mode")),
        heartbeat=_heartbeat(value.get("heartbeat", {}), join(place, "heartbeat")),
        limits=RpcLimits(
            max_frame_bytes=struct_integer(
                value, "max_frame_bytes", RpcLimits().max_frame_bytes, place, 1024, _MAX_FRAME_BYTES
            ),
            idle_timeout=struct_seconds(value, "idle_timeout", RpcLimits().idle_timeout, place),
            connections_per_endpoint=struct_integer(value, "connections_per_endpoint", 1, place, 1, 64),
        ),
        goaway=struct_flag(value, "goaway", place, default=sends_goaway(codec)),
        verify_crc=struct_flag(value, "verify_crc", place, default=False),
        http_filters=_filters(manager, place),
        tracing=compile_tracing(manager, place),
        timeout_header=_timeout_header(value.get("timeout_header", ""), join(place, "timeout_header")),
        route_cache=struct_flag(value, "route_cache", place, default=True),
    )


def compile_rpc_inspector(struct: Any, path: str) -> RpcInspectorConfig:
    """Compile the TypedStruct of the listener filter that detects RPC protocols. Raises ConfigError."""
    if name_of(struct.type_url) != RPC_INSPECTOR:
        raise ConfigError(join(path, "type_url"), shown(struct.type_url), f"only {RPC_INSPECTOR} is supported here")
    place = join(path, "value")
    value = plain_fields(struct.value)
    for name in value:
        if name != "protocols":
            raise ConfigError(join(place, name), "", f"is not a field of {RPC_INSPECTOR}; it has protocols")
    known = [*codec_names(), TR]
    wanted = value.get("protocols", known)
    if not isinstance(wanted, list) or not wanted or len(set(map(str, wanted))) != len(wanted):
        raise ConfigError(join(place, "protocols"), shown(wanted), "must be a list of different names")
    for index, name in enumerate(wanted):
        if name not in known:
            raise ConfigError(f"{join(place, 'protocols')}[{index}]", shown(name), f"must be one of {', '.join(known)}")
    return RpcInspectorConfig(tuple(wanted))


def _manager(shared: Mapping[str, object], path: str) -> Any:
    from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: PLC0415 - if used
        HttpConnectionManager,
    )

    manager = HttpConnectionManager()
    fill(manager, shared, path)
    check(manager, path)
    return manager


def _filters(manager: Any, path: str) -> tuple[HttpFilterConfig, ...]:
    """The filters before the router; only those that ask for nothing that remote calls lack."""
    if not manager.http_filters:
        return ()
    for index, each in enumerate(manager.http_filters):
        if each.WhichOneof("config_type") == "config_discovery":
            reason = "filters of remote calls do not come over xDS; use typed_config"
            raise ConfigError(join(path, f"http_filters[{index}].config_discovery"), "", reason)
        place = join(path, f"http_filters[{index}].typed_config")
        name = own_name_of(each.typed_config, place)
        if name not in _FILTERS:
            known = ", ".join(short.rpartition(".")[2] for short in _FILTERS)
            raise ConfigError(place, shown(name or "(no type URL)"), f"filters of remote calls are {known}")
    filters, router = compile_http_filters(manager, path)
    if router.ListFields():
        last = join(path, f"http_filters[{len(manager.http_filters) - 1}].typed_config")
        field = router.ListFields()[0][0].name
        raise ConfigError(join(last, field), "", "means nothing for remote calls; leave it out")
    return filters


def _timeout_header(name: Any, path: str) -> bytes:
    if not isinstance(name, str) or not name.isascii() or not name.isprintable():
        raise ConfigError(path, shown(name), "must be the name of a header or attachment")
    return name.lower().encode()


def _codec(name: object, path: str) -> str:
    known = codec_names()
    if not isinstance(name, str) or name not in known:
        raise ConfigError(path, shown(name or ""), f"must name a codec: {', '.join(known)}")
    return name


def _pool_mode(name: Any, path: str) -> PoolMode:
    modes: tuple[PoolMode, ...] = get_args(PoolMode)
    if name not in modes:
        raise ConfigError(path, shown(name), f"must be one of {', '.join(modes)}")
    return modes[modes.index(name)]


def _heartbeat(value: Any, path: str) -> HeartbeatConfig:
    usual = HeartbeatConfig()
    if not isinstance(value, Mapping):
        raise ConfigError(path, shown(value), "must be a mapping")
    for name in value:
        if name not in ("interval", "max_interval", "timeout", "max_failures"):
            raise ConfigError(join(path, name), "", "is not a field of a heartbeat")
    interval = struct_seconds(value, "interval", usual.interval, path)
    timeout = struct_seconds(value, "timeout", usual.timeout, path)
    longest = struct_seconds(value, "max_interval", max(usual.max_interval, interval), path)
    if interval and not timeout:
        raise ConfigError(join(path, "timeout"), "0s", "must be more than zero")
    if longest < interval:
        raise ConfigError(join(path, "max_interval"), f"{longest:g}s", f"must be at least interval ({interval:g}s)")
    return HeartbeatConfig(
        interval, longest, timeout, struct_integer(value, "max_failures", usual.max_failures, path, 1, 100)
    )
