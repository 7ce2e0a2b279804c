"""Which names a resource makes its receiver ask for next: clusters name EDS resources, listeners name RDS resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.message import Message


def references_of(message: Message) -> tuple[str, ...]:
    """Return the names of the resources that ``message`` pulls in by EDS or RDS, sorted, without doubles."""
    if isinstance(message, Cluster):
        return _endpoint_names(message)
    if isinstance(message, Listener):
        return tuple(sorted(set(_route_names(message))))
    return ()


def _endpoint_names(cluster: Any) -> tuple[str, ...]:
    """An EDS cluster asks for its ``service_name``, or for its own name where that is empty."""
    if cluster.type != Cluster.EDS:
        return ()
    return (cluster.eds_cluster_config.service_name or cluster.name,)


def _route_names(listener: Any) -> Iterator[str]:
    chains = [*listener.filter_chains, listener.default_filter_chain]
    configs = [network_filter.typed_config for chain in chains for network_filter in chain.filters]
    for config in [*configs, listener.api_listener.api_listener]:
        if config.Is(HttpConnectionManager.DESCRIPTOR):
            connection_manager = HttpConnectionManager.FromString(config.value)
            if connection_manager.HasField("rds"):
                yield connection_manager.rds.route_config_name
