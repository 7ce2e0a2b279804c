"""Compiles envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.metadata import merge
from isthmus_proxy.config.access_log import compile_access_logs
from isthmus_proxy.config.metadata import compile_metadata
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import number, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import TcpProxyConfig
from isthmus_proxy.route.model import ClusterWeight

_SHORTEST_S = 0.001


def compile_tcp_proxy(config: Any, path: str) -> TcpProxyConfig:
    """Compile a checked message. Raises ConfigError."""
    return TcpProxyConfig(
        stat_prefix=required(config, "stat_prefix", path),
        clusters=_clusters(config, path),
        hash_source_ip=any(policy.HasField("source_ip") for policy in config.hash_policy),
        idle_timeout=seconds(config, "idle_timeout", 3600.0, path),
        max_connection_duration=_max_duration(config, path),
        max_connection_duration_jitter=_jitter(config, path),
        max_connect_attempts=number(config, "max_connect_attempts", 1, path, low=1),
        access_logs=compile_access_logs(config.access_log, join(path, "access_log")),
    )


def _max_duration(config: Any, path: str) -> float:
    name = "max_downstream_connection_duration"
    value = seconds(config, name, 0.0, path)
    if config.HasField(name) and value < _SHORTEST_S:
        raise ConfigError(join(path, name), f"{value:g}s", "must be at least 0.001s; leave it out for no limit")
    return value


def _jitter(config: Any, path: str) -> float:
    name = "max_downstream_connection_duration_jitter_percentage"
    value = float(getattr(config, name).value)
    if not 0.0 <= value <= 100.0:
        raise ConfigError(join(path, name), f"{value:g}", "must be from 0 to 100")
    return value / 100.0


def _clusters(config: Any, path: str) -> tuple[ClusterWeight, ...]:
    chosen = config.WhichOneof("cluster_specifier")
    asked = compile_metadata(config.metadata_match)
    if chosen == "cluster":
        return (ClusterWeight(required(config, "cluster", path), metadata_match=asked),)
    if chosen != "weighted_clusters":
        raise ConfigError(path, "", "needs one of cluster and weighted_clusters")
    clusters = []
    for index, item in enumerate(config.weighted_clusters.clusters):
        place = f"{path}.weighted_clusters.clusters[{index}]"
        if item.weight < 1:
            raise ConfigError(join(place, "weight"), str(item.weight), "must be at least 1")
        own = compile_metadata(item.metadata_match)
        refined = own if asked is None else merge(asked, own or ())
        clusters.append(ClusterWeight(required(item, "name", place), int(item.weight), metadata_match=refined))
    if not clusters:
        raise ConfigError(join(path, "weighted_clusters.clusters"), "", "needs at least one cluster")
    return tuple(clusters)
