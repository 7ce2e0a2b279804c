"""The gRPC methods by which resource types come: of the aggregated service, and of the services of single types."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE
from isthmus_proxy.xds.session import Variant

_SERVICES = {
    "": ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources"),
    CLUSTER: ("cluster.v3.ClusterDiscoveryService", "Clusters"),
    ENDPOINT: ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    LISTENER: ("listener.v3.ListenerDiscoveryService", "Listeners"),
    ROUTE: ("route.v3.RouteDiscoveryService", "Routes"),
    EXTENSION: ("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"),
}


def method_of(type_url: str, variant: Variant) -> str:
    """``/package.Service/Method``; no type is the aggregated stream."""
    service, resources = _SERVICES[type_url]
    return f"/envoy.service.{service}/{'Delta' if variant == 'delta' else 'Stream'}{resources}"


def response_type(variant: Variant) -> type[DiscoveryResponse | DeltaDiscoveryResponse]:
    """What is received."""
    kind: type[DiscoveryResponse | DeltaDiscoveryResponse]
    kind = DeltaDiscoveryResponse if variant == "delta" else DiscoveryResponse
    return kind
