"""Compiles what an ORIGINAL_DST cluster says of its endpoints (config.cluster.v3.Cluster.OriginalDstLbConfig)."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.original_dst_model import OriginalDst
from isthmus_proxy.config.header_edits import header_name
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import enum_name, number, positive_seconds
from isthmus_proxy.errors import ConfigError

_HEADER = b"x-envoy-original-dst-host"


def compile_original_dst(proto: Any, path: str) -> OriginalDst:
    """Compile a checked cluster. Raises ConfigError."""
    if enum_name(proto, "lb_policy") != "CLUSTER_PROVIDED" or proto.HasField("load_balancing_policy"):
        place = "load_balancing_policy" if proto.HasField("load_balancing_policy") else "lb_policy"
        raise ConfigError(join(path, place), "", "an ORIGINAL_DST cluster needs lb_policy CLUSTER_PROVIDED")
    if proto.HasField("load_assignment"):
        raise ConfigError(
            join(path, "load_assignment"), "", "an ORIGINAL_DST cluster has no endpoints of its own; remove it"
        )
    if proto.HasField("lb_subset_config"):
        raise ConfigError(join(path, "lb_subset_config"), "", "an ORIGINAL_DST cluster has no subsets; remove it")
    if proto.health_checks:
        raise ConfigError(
            join(path, "health_checks"), "", "endpoints of an ORIGINAL_DST cluster are not checked; remove it"
        )
    config, place = proto.original_dst_lb_config, join(path, "original_dst_lb_config")
    header = b""
    if config.use_http_header:
        header = (
            header_name(config.http_header_name, join(place, "http_header_name"))
            if config.http_header_name
            else _HEADER
        )
    port = number(config, "upstream_port_override", 0, place)
    if port > 65535:
        raise ConfigError(join(place, "upstream_port_override"), str(port), "must be at most 65535")
    return OriginalDst(header, port, positive_seconds(proto, "cleanup_interval", 5.0, path))
