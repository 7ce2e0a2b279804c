"""Clusters: one per service, port and subset, and Istio's two for traffic that nobody defined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.duration_pb2 import Duration

from isthmus_controlplane.model.scope import NodeKind
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.client_tls import (
    client_tls,
    is_mutual,
    names_by_request,
    originated_tls,
    originates,
)
from isthmus_controlplane.translate.connection_pool import CONNECT_TIMEOUT_S, circuit_breakers, set_connection_pool
from isthmus_controlplane.translate.endpoints import load_assignment
from isthmus_controlplane.translate.load_balancer import set_load_balancer
from isthmus_controlplane.translate.locality import NOWHERE, Client, distributes, place, ranker
from isthmus_controlplane.translate.message import ads
from isthmus_controlplane.translate.names import BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, cluster_name
from isthmus_controlplane.translate.outlier_detection import set_outlier_detection
from isthmus_controlplane.translate.traffic_policy import TrafficPolicy, traffic_policy


def service_clusters(
    service: Service, rule: ConfigObject | None, kind: NodeKind, client: Client = NOWHERE
) -> Iterator[tuple[Any, Any]]:
    """Yield (cluster, load assignment) for each port and subset; the assignment is None where it is part of the cluster."""
    spec: Any = rule.spec if rule is not None else None
    for port in service.ports:
        yield _cluster(service, port, None, spec, kind, client)
        for subset in spec.subsets if spec is not None else ():
            yield _cluster(service, port, subset, spec, kind, client)


def _cluster(service: Service, port: Port, subset: Any, rule: Any, kind: NodeKind, client: Client) -> tuple[Any, Any]:
    name = cluster_name(port.number, subset.name if subset is not None else "", service.host)
    cluster = Cluster(name=name)
    policy = traffic_policy(rule, subset, port.number)
    _set_policy(cluster, policy, port, kind)
    if distributes(policy, client):
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    rank = ranker(policy, client)
    assignment = load_assignment(name, service, port, subset.labels if subset is not None else {}, rank)
    if rank is None:
        place(assignment, policy, client)
    if is_mutual(policy):
        if client.identity is None or kind == "grpc":  # never in plain text: there is nobody to call
            del assignment.endpoints[:]
        else:
            name_of_subset = subset.name if subset is not None else ""
            cluster.transport_socket.CopyFrom(client_tls(policy, port, name_of_subset, service.host, client.identity))
    elif originates(policy):
        if kind == "grpc":  # its credentials are not those of a cluster, and plain text would be worse than no answer
            del assignment.endpoints[:]
        else:
            cluster.transport_socket.CopyFrom(originated_tls(policy, port, client.authorities))
    if service.resolution == "DNS":
        cluster.type = Cluster.STRICT_DNS
        cluster.dns_lookup_family = Cluster.V4_ONLY
        cluster.load_assignment.CopyFrom(assignment)
        return cluster, None
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(ads())
    cluster.eds_cluster_config.service_name = name
    return cluster, assignment


def _set_policy(cluster: Any, policy: TrafficPolicy, port: Port, kind: NodeKind) -> None:
    set_connection_pool(cluster, policy.connection_pool, port, names_by_request(policy) if kind != "grpc" else None)
    set_outlier_detection(cluster, policy.outlier_detection)
    if kind == "grpc":  # not every gRPC client has the others, and all refuse what they do not have
        cluster.lb_policy = Cluster.ROUND_ROBIN
    else:
        set_load_balancer(cluster, policy.load_balancer)


def black_hole_cluster() -> Any:
    """A cluster without endpoints: requests to it get 503."""
    return Cluster(name=BLACK_HOLE_CLUSTER, type=Cluster.STATIC, connect_timeout=Duration(seconds=CONNECT_TIMEOUT_S))


def passthrough_cluster(name: str = PASSTHROUGH_CLUSTER) -> Any:
    """A cluster that connects to where redirected traffic was going."""
    return Cluster(
        name=name,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=Duration(seconds=CONNECT_TIMEOUT_S),
        circuit_breakers=circuit_breakers(),
    )
