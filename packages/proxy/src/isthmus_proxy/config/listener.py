"""Compiles config.listener.v3.Listener, from a file or from xDS."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.access_log import compile_access_logs
from isthmus_proxy.config.check import check
from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.http_connection_manager import compile_http_connection_manager
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.transport_socket import refuse_other_than_raw_buffer
from isthmus_proxy.config.values import content_hash, flag, number, required, seconds, socket_address
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import (
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    SocketAddress,
    TcpProxyConfig,
)
from isthmus_proxy.route.model import ClusterWeight

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def compile_listener(proto: Any, path: str = "") -> ListenerConfig:
    """Check and compile a listener. Raises ConfigError below ``path``."""
    check(proto, path)
    host, port = socket_address(proto.address, join(path, "address"))
    content = content_hash(proto)
    return ListenerConfig(
        name=proto.name or f"{host}:{port}",
        address=SocketAddress(host, port),
        filter_chains=(_filter_chain(proto, path),),
        content=content,
        per_connection_buffer_limit_bytes=number(proto, "per_connection_buffer_limit_bytes", 1024 * 1024, path, low=1),
        tcp_backlog_size=number(proto, "tcp_backlog_size", 1024, path, low=1),
        reuse_port=flag(proto, "enable_reuse_port", default=True),
    )


def _filter_chain(proto: Any, path: str) -> FilterChain:
    chains = [(chain, f"{join(path, 'filter_chains')}[{i}]") for i, chain in enumerate(proto.filter_chains)]
    if proto.HasField("default_filter_chain"):
        chains.append((proto.default_filter_chain, join(path, "default_filter_chain")))
    if len(chains) != 1:
        raise ConfigError(join(path, "filter_chains"), f"{len(chains)} chains", "exactly one filter chain is supported")
    chain, place = chains[0]
    refuse_other_than_raw_buffer(chain, place)
    if len(chain.filters) != 1:
        reason = "exactly one network filter, http_connection_manager or tcp_proxy, is supported"
        raise ConfigError(join(place, "filters"), f"{len(chain.filters)} filters", reason)
    return FilterChain(chain.name, _network_filter(chain.filters[0], f"{join(place, 'filters')}[0]"))


def _network_filter(proto: Any, path: str) -> HttpConnectionManagerConfig | TcpProxyConfig:
    path = join(path, "typed_config")
    config: Any = unpack_as(proto.typed_config, path, _HCM, _TCP_PROXY)
    if config.DESCRIPTOR.full_name == _HCM:
        return compile_http_connection_manager(config, path)
    attempts = number(config, "max_connect_attempts", 1, path, low=1)
    return TcpProxyConfig(
        stat_prefix=required(config, "stat_prefix", path),
        clusters=_tcp_clusters(config, path),
        idle_timeout=seconds(config, "idle_timeout", 3600.0, path),
        max_connect_attempts=attempts,
        access_logs=compile_access_logs(config.access_log, join(path, "access_log")),
    )


def _tcp_clusters(config: Any, path: str) -> tuple[ClusterWeight, ...]:
    chosen = config.WhichOneof("cluster_specifier")
    if chosen == "cluster":
        return (ClusterWeight(required(config, "cluster", path)),)
    if chosen != "weighted_clusters":
        raise ConfigError(path, "", "needs one of cluster and weighted_clusters")
    clusters = []
    for index, item in enumerate(config.weighted_clusters.clusters):
        place = f"{path}.weighted_clusters.clusters[{index}]"
        if item.weight < 1:
            raise ConfigError(join(place, "weight"), str(item.weight), "must be at least 1")
        clusters.append(ClusterWeight(required(item, "name", place), int(item.weight)))
    if not clusters:
        raise ConfigError(join(path, "weighted_clusters.clusters"), "", "needs at least one cluster")
    return tuple(clusters)
