"""ClusterLoadAssignments from the endpoints of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus_controlplane.model.rule_aspects import parts_of
from isthmus_controlplane.model.service import Endpoint, Port, Service
from isthmus_controlplane.translate.message import socket_address


def load_assignment(
    name: str,
    service: Service,
    port: Port,
    labels: Mapping[str, str],
    rank: Callable[[Endpoint], int] | None = None,
) -> Any:
    """Build the assignment of one cluster.

    Args:
        name: the cluster's name.
        service: whose endpoints to take.
        port: the service port that they serve.
        labels: only endpoints with all of these labels (a subset's).
        rank: how good each endpoint is, 0 the best; those of one rank share a priority, numbered without gaps.
    """
    chosen = [endpoint for endpoint in _endpoints(service, port) if endpoint.matches(labels)]
    by_place: dict[tuple[int, str], dict[tuple[str, int], Endpoint]] = {}
    taken: set[tuple[str, int]] = set()
    for endpoint in chosen:
        address = (endpoint.address, endpoint.port(port))
        if address not in taken:  # clients refuse an address that stands there twice
            taken.add(address)
            place = (rank(endpoint) if rank is not None else 0, endpoint.locality)
            by_place.setdefault(place, {})[address] = endpoint
    priorities = {ranked: number for number, ranked in enumerate(sorted({ranked for ranked, _ in by_place}))}
    groups = [
        _locality_endpoints(locality, group, priorities[ranked])
        for (ranked, locality), group in sorted(by_place.items(), key=lambda each: each[0])
    ]
    return ClusterLoadAssignment(cluster_name=name, endpoints=groups)


def _endpoints(service: Service, port: Port) -> Iterable[Endpoint]:
    """A DNS service without endpoints is reached under its own name."""
    if service.resolution == "DNS" and not service.endpoints:
        return (Endpoint(locality="", address=service.host, ports=(), weight=1, labels=()),)
    return service.endpoints


def _locality_endpoints(locality: str, endpoints: Mapping[tuple[str, int], Endpoint], priority: int) -> Any:
    """One locality; its weight is the sum of its endpoints', and is always set since gRPC clients skip those without."""
    total = sum(endpoint.weight for endpoint in endpoints.values())
    return LocalityLbEndpoints(
        locality=_locality(locality),
        lb_endpoints=[_lb_endpoint(address, port, each.weight) for (address, port), each in endpoints.items()],
        load_balancing_weight=UInt32Value(value=total),
        priority=priority,
    )


def _lb_endpoint(address: str, port: int, weight: int) -> Any:
    return LbEndpoint(
        endpoint=EnvoyEndpoint(address=socket_address(address, port)),
        health_status=HealthStatus.HEALTHY,
        load_balancing_weight=UInt32Value(value=weight),
    )


def _locality(text: str) -> Any:
    region, zone, sub_zone = parts_of(text)
    return Locality(region=region, zone=zone, sub_zone=sub_zone)
