"""Compiles the dynamic_resources of a bootstrap file: one aggregated xDS stream, state of the world or delta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus_proxy.config.http_connection_manager import refuse_other_than_ads
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, required, seconds
from isthmus_proxy.errors import ConfigError

_SHORTEST_PAUSE_S = 0.001


@dataclass(frozen=True, slots=True)
class ManagementServer:
    """A server of configuration: the static cluster of its addresses, and between which seconds pauses after failures grow."""

    cluster_name: str
    retry_base_interval: float = 0.5
    retry_max_interval: float = 30.0


@dataclass(frozen=True, slots=True)
class DynamicResources:
    """The ADS stream to keep. ``servers`` are in order of preference; timeouts in seconds."""

    servers: tuple[ManagementServer, ...]
    delta: bool
    cds: bool
    lds: bool
    set_node_on_first_message_only: bool = False
    cds_initial_fetch_timeout: float = 15.0
    lds_initial_fetch_timeout: float = 15.0


def compile_dynamic_resources(bootstrap: Any) -> DynamicResources | None:
    """Compile the checked section; None when it is absent or empty. Raises ConfigError."""
    section = bootstrap.dynamic_resources
    for name in ("cds_config", "lds_config"):
        if section.HasField(name):
            refuse_other_than_ads(getattr(section, name), f"dynamic_resources.{name}")
    if not section.HasField("ads_config"):
        if section.HasField("cds_config") or section.HasField("lds_config"):
            raise ConfigError("dynamic_resources.ads_config", "", "is required by cds_config and lds_config: ads")
        return None
    _check_node(bootstrap.node)
    path = "dynamic_resources.ads_config"
    return DynamicResources(
        servers=_servers(section.ads_config, path),
        delta=_is_delta(section.ads_config, path),
        cds=section.HasField("cds_config"),
        lds=section.HasField("lds_config"),
        set_node_on_first_message_only=section.ads_config.set_node_on_first_message_only,
        cds_initial_fetch_timeout=seconds(
            section.cds_config, "initial_fetch_timeout", 15.0, "dynamic_resources.cds_config"
        ),
        lds_initial_fetch_timeout=seconds(
            section.lds_config, "initial_fetch_timeout", 15.0, "dynamic_resources.lds_config"
        ),
    )


def _check_node(node: Any) -> None:
    for name in ("id", "cluster"):
        if not getattr(node, name):
            raise ConfigError(f"node.{name}", "", "is required where dynamic_resources are used")


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


def _is_delta(ads: Any, path: str) -> bool:
    kind = enum_name(ads, "api_type")
    if kind not in ("GRPC", "DELTA_GRPC"):
        raise ConfigError(join(path, "api_type"), shown(kind), "must be GRPC or DELTA_GRPC")
    return kind == "DELTA_GRPC"
