"""Outbound listeners."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from isthmus_controlplane.model.scope import ANY_ADDRESS, Scope
from isthmus_controlplane.translate.http_filters import http_filters
from isthmus_controlplane.translate.load_balancer import hashes_source_ip
from isthmus_controlplane.translate.message import ads, packed, socket_address
from isthmus_controlplane.translate.names import (
    BLACK_HOLE_CLUSTER,
    PASSTHROUGH_CLUSTER,
    VIRTUAL_OUTBOUND,
    VIRTUAL_OUTBOUND_PORT,
)
from isthmus_controlplane.translate.traffic_policy import DEFAULT_POLICY, TrafficPolicy

HTTP_CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"
_TCP_PROXY = "envoy.filters.network.tcp_proxy"


def http_listener(
    name: str, address: str, port: int, route_configuration: str, filters: Collection[str], *, redirected: bool
) -> Any:
    """A listener whose requests pass these filters and are routed by a route configuration that comes over ADS."""
    manager = connection_manager(f"outbound_{name}", route_configuration, filters)
    chains = [FilterChain(filters=[Filter(name=HTTP_CONNECTION_MANAGER, typed_config=packed(manager))])]
    return outbound_listener(name, address, port, chains, redirected=redirected)


def connection_manager(stat_prefix: str, route_configuration: str, filters: Collection[str]) -> Any:
    """The HTTP connection manager of an outbound listener, with the filters of these names before the router."""
    return HttpConnectionManager(
        stat_prefix=stat_prefix,
        rds=Rds(config_source=ads(), route_config_name=route_configuration),
        http_filters=http_filters(filters),
    )


def tcp_listener(
    name: str, address: str, port: int, shares: Sequence[tuple[str, int]], policy: TrafficPolicy, *, redirected: bool
) -> Any:
    """A listener that carries the bytes of each connection to one cluster.

    Args:
        name: of the listener.
        address: to which it binds, or for which connections are redirected to it.
        port: likewise.
        shares: the clusters, at least one, and their weights.
        policy: may limit how long connections idle, and say what is hashed.
        redirected: whether connections come by redirection; else the listener binds.
    """
    chains = [FilterChain(filters=[tcp_proxy(shares, policy)])]
    return outbound_listener(name, address, port, chains, redirected=redirected)


def outbound_listener(name: str, address: str, port: int, chains: Iterable[Any], *, redirected: bool) -> Any:
    """An outbound listener; where traffic is redirected it does not bind, `virtual_outbound` hands it connections."""
    listener = Listener(
        name=name,
        address=socket_address(address, port),
        filter_chains=chains,
        traffic_direction=TrafficDirection.OUTBOUND,
    )
    if redirected:
        listener.bind_to_port.CopyFrom(BoolValue(value=False))
    return listener


def virtual_outbound(scope: Scope, *, pass_through: bool) -> Any:
    """The listener that redirected connections reach first; it gives them to the listener of their destination.

    What no listener takes is passed through or dropped. A connection made to this port itself would come back for
    ever, so it is dropped.
    """
    rest = PASSTHROUGH_CLUSTER if pass_through else BLACK_HOLE_CLUSTER
    own_port = FilterChainMatch(destination_port=UInt32Value(value=VIRTUAL_OUTBOUND_PORT))
    listener = Listener(
        name=VIRTUAL_OUTBOUND,
        address=socket_address(ANY_ADDRESS, VIRTUAL_OUTBOUND_PORT),
        use_original_dst=BoolValue(value=True),
        filter_chains=[
            FilterChain(
                name="virtualOutbound-blackhole",
                filter_chain_match=own_port,
                filters=[tcp_proxy([(BLACK_HOLE_CLUSTER, 1)])],
            ),
            FilterChain(name="virtualOutbound-catchall-tcp", filters=[tcp_proxy([(rest, 1)])]),
        ],
        traffic_direction=TrafficDirection.OUTBOUND,
    )
    if scope.interception == "TPROXY":
        listener.transparent.CopyFrom(BoolValue(value=True))
    return listener


def tcp_proxy(shares: Sequence[tuple[str, int]], policy: TrafficPolicy = DEFAULT_POLICY) -> Any:
    """The network filter that carries the bytes of each connection to one of these clusters, by weight."""
    proxy = TcpProxy(stat_prefix=shares[0][0])
    if len(shares) == 1:
        proxy.cluster = shares[0][0]
    else:
        for cluster, weight in shares:
            proxy.weighted_clusters.clusters.add(name=cluster, weight=weight)
    pool = policy.connection_pool
    if pool is not None and pool.tcp.HasField("idle_timeout"):
        proxy.idle_timeout.CopyFrom(pool.tcp.idle_timeout)
    if hashes_source_ip(policy.load_balancer):
        proxy.hash_policy.add().source_ip.SetInParent()
    return Filter(name=_TCP_PROXY, typed_config=packed(proxy))


def api_listener(name: str, route_configuration: str, filters: Collection[str]) -> Any:
    """The listener of a proxyless gRPC client: only the connection manager, nothing listens."""
    listener = Listener(name=name)
    listener.api_listener.api_listener.CopyFrom(packed(connection_manager(name, route_configuration, filters)))
    return listener
