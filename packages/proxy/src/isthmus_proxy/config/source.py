"""Compiles config.core.v3.ConfigSource and ApiConfigSource: the aggregated stream, a stream of one resource type, or of load reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.source import ApiSource, ManagementServer

_SHORTEST_PAUSE_S = 0.001


def compile_source(source: Any, path: str) -> ApiSource | None:
    """The stream that a ConfigSource names; None is the aggregated one (``ads``). Raises ConfigError."""
    chosen = source.WhichOneof("config_source_specifier") or ""
    if chosen == "api_config_source":
        return compile_api_source(source.api_config_source, join(path, chosen))
    if chosen in ("path", "path_config_source"):
        return ApiSource((), path=_file(source, chosen, path))
    if chosen != "ads":
        reason = "only ads, api_config_source and path_config_source are supported"
        raise ConfigError(path, shown(chosen), reason)
    return None


def compile_api_source(source: Any, path: str) -> ApiSource:
    """The servers of an ApiConfigSource, and how to talk to them. Raises ConfigError."""
    kind = enum_name(source, "api_type")
    if kind not in ("GRPC", "DELTA_GRPC"):
        raise ConfigError(join(path, "api_type"), shown(kind), "must be GRPC or DELTA_GRPC")
    return ApiSource(_servers(source, path), kind == "DELTA_GRPC", source.set_node_on_first_message_only)


def _file(source: Any, chosen: str, path: str) -> str:
    """The file that is to be followed; as in Envoy it must be there from the start. Raises ConfigError."""
    place = join(path, chosen)
    found = required(source, chosen, path) if chosen == "path" else required(source.path_config_source, "path", place)
    if not Path(found).is_file():
        place = place if chosen == "path" else join(place, "path")
        raise ConfigError(place, shown(found), "there is no such file")
    return found


def compile_load_stats(source: Any, path: str) -> ManagementServer:
    """The one server that loads are reported to. Raises ConfigError."""
    servers = compile_api_source(source, path).servers
    if len(servers) > 1:
        raise ConfigError(join(path, "grpc_services"), f"{len(servers)} services", "loads are reported to one")
    return servers[0]


def _servers(source: Any, path: str) -> tuple[ManagementServer, ...]:
    place = join(path, "grpc_services")
    if not source.grpc_services:
        raise ConfigError(place, "0 services", "at least one is required")
    return tuple(_server(each.envoy_grpc, f"{place}[{i}].envoy_grpc") for i, each in enumerate(source.grpc_services))


def _server(service: Any, path: str) -> ManagementServer:
    name = required(service, "cluster_name", path)
    return ManagementServer(name, *_retry_intervals(service.retry_policy, join(path, "retry_policy.retry_back_off")))


def _retry_intervals(policy: Any, place: str) -> tuple[float, float]:
    """Seconds from which, and up to which, the pause between two attempts grows; Envoy's defaults."""
    if not policy.HasField("retry_back_off"):
        return 0.5, 30.0
    back_off = policy.retry_back_off
    base = seconds(back_off, "base_interval", 0.0, place)
    if base < _SHORTEST_PAUSE_S:
        raise ConfigError(join(place, "base_interval"), f"{base:g}s", "is required and must be at least 0.001s")
    most = seconds(back_off, "max_interval", 10 * base, place)
    if most < base:
        raise ConfigError(join(place, "max_interval"), f"{most:g}s", f"must not be less than base_interval, {base:g}s")
    return base, most
