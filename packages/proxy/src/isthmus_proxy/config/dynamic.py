"""Compiles the dynamic_resources of a bootstrap file: one aggregated xDS stream, state of the world or delta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus_proxy.config.http_connection_manager import refuse_other_than_ads
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, required, seconds
from isthmus_proxy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DynamicResources:
    """The ADS stream to keep. ``cluster_name`` is the static cluster of the control plane; timeouts in seconds."""

    cluster_name: str
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
        cluster_name=_cluster_name(section.ads_config, path),
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


def _cluster_name(ads: Any, path: str) -> str:
    place = join(path, "grpc_services")
    if len(ads.grpc_services) != 1:
        raise ConfigError(place, f"{len(ads.grpc_services)} services", "exactly one is supported")
    return required(ads.grpc_services[0].envoy_grpc, "cluster_name", f"{place}[0].envoy_grpc")


def _is_delta(ads: Any, path: str) -> bool:
    kind = enum_name(ads, "api_type")
    if kind not in ("GRPC", "DELTA_GRPC"):
        raise ConfigError(join(path, "api_type"), shown(kind), "must be GRPC or DELTA_GRPC")
    return kind == "DELTA_GRPC"
