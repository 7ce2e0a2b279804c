"""The gRPC methods that are served: the aggregated service and one service per resource type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from isthmus_controlplane.snapshot.resource_type import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    VIRTUAL_HOST,
)
from isthmus_controlplane.xds.message import Variant


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """One streaming method.

    Attributes:
        service: full name of the gRPC service.
        name: method name.
        variant: what it speaks.
        only_type: the one resource type it serves, None for the aggregated service.
    """

    service: str
    name: str
    variant: Variant
    only_type: str | None = None


_PER_TYPE = (
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", LISTENER),
    ("envoy.service.route.v3.RouteDiscoveryService", "Routes", ROUTE),
    ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", SCOPED_ROUTE),
    ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", SECRET),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime", RUNTIME),
    ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", EXTENSION_CONFIG),
)
_VIRTUAL_HOSTS = "envoy.service.route.v3.VirtualHostDiscoveryService"
AGGREGATED = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def fetch_methods() -> Iterator[tuple[str, str, str]]:
    """Yield (service, method, type URL) of the unary methods."""
    for service, plural, type_url in _PER_TYPE:
        yield service, f"Fetch{plural}", type_url


def methods() -> Iterator[Method]:
    """Yield every method that the server offers."""
    for service, plural, type_url in ((AGGREGATED, "AggregatedResources", None), *_PER_TYPE):
        yield Method(service, f"Stream{plural}", Variant.SOTW, type_url)
        yield Method(service, f"Delta{plural}", Variant.DELTA, type_url)
    yield Method(_VIRTUAL_HOSTS, "DeltaVirtualHosts", Variant.DELTA, VIRTUAL_HOST)  # there is no SotW form
