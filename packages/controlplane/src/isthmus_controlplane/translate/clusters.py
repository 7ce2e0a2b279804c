"""Clusters: one per service, port and subset, and Istio's two for traffic that nobody defined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings
from isthmus_controlplane.model.scope import NodeKind
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.endpoints import load_assignment
from isthmus_controlplane.translate.message import ads, packed
from isthmus_controlplane.translate.names import BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, cluster_name

CONNECT_TIMEOUT_S = 10  # Istio's default (MeshConfig.connect_timeout)
NO_LIMIT = 2**32 - 1  # Istio's default circuit breakers are out of the way
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LB_POLICIES = {
    LoadBalancerSettings.ROUND_ROBIN: Cluster.ROUND_ROBIN,
    LoadBalancerSettings.RANDOM: Cluster.RANDOM,
    LoadBalancerSettings.LEAST_REQUEST: Cluster.LEAST_REQUEST,
    LoadBalancerSettings.LEAST_CONN: Cluster.LEAST_REQUEST,
}


def service_clusters(service: Service, rule: ConfigObject | None, kind: NodeKind) -> Iterator[tuple[Any, Any]]:
    """Yield (cluster, load assignment) for each port and subset; the assignment is None where it is part of the cluster."""
    spec: Any = rule.spec if rule is not None else None
    for port in service.ports:
        yield _cluster(service, port, None, spec, kind)
        for subset in spec.subsets if spec is not None else ():
            yield _cluster(service, port, subset, spec, kind)


def _cluster(service: Service, port: Port, subset: Any, rule: Any, kind: NodeKind) -> tuple[Any, Any]:
    name = cluster_name(port.number, subset.name if subset is not None else "", service.host)
    cluster = Cluster(
        name=name,
        connect_timeout=Duration(seconds=CONNECT_TIMEOUT_S),
        lb_policy=_lb_policy(rule, subset, port.number, kind),
        circuit_breakers=_no_circuit_breakers(),
    )
    if port.is_http2:
        options = HttpProtocolOptions()
        options.explicit_http_config.http2_protocol_options.CopyFrom(Http2ProtocolOptions())
        cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    assignment = load_assignment(name, service, port, subset.labels if subset is not None else {})
    if service.resolution == "DNS":
        cluster.type = Cluster.STRICT_DNS
        cluster.dns_lookup_family = Cluster.V4_ONLY
        cluster.load_assignment.CopyFrom(assignment)
        return cluster, None
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(ads())
    cluster.eds_cluster_config.service_name = name
    return cluster, assignment


def _lb_policy(rule: Any, subset: Any, port: int, kind: NodeKind) -> int:
    """The nearest setting wins: the subset's port, the subset, the rule's port, the rule; then Istio's default."""
    if kind == "grpc":  # not every gRPC client has LEAST_REQUEST, and all refuse what they do not have
        return int(Cluster.ROUND_ROBIN)
    policies = [each.traffic_policy for each in (subset, rule) if each is not None]
    for policy in policies:
        at_port = [setting for setting in policy.port_level_settings if setting.port.number == port]
        for settings in (*at_port, policy):
            simple = settings.load_balancer.simple
            if simple in _LB_POLICIES:
                return int(_LB_POLICIES[simple])
    return int(Cluster.LEAST_REQUEST)


def _no_circuit_breakers() -> Any:
    limit = UInt32Value(value=NO_LIMIT)
    thresholds = CircuitBreakers.Thresholds(
        max_connections=limit, max_pending_requests=limit, max_requests=limit, max_retries=limit
    )
    return CircuitBreakers(thresholds=[thresholds])


def black_hole_cluster() -> Any:
    """A cluster without endpoints: requests to it get 503."""
    return Cluster(name=BLACK_HOLE_CLUSTER, type=Cluster.STATIC, connect_timeout=Duration(seconds=CONNECT_TIMEOUT_S))


def passthrough_cluster() -> Any:
    """A cluster that connects to where redirected traffic was going."""
    return Cluster(
        name=PASSTHROUGH_CLUSTER,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=Duration(seconds=CONNECT_TIMEOUT_S),
        circuit_breakers=_no_circuit_breakers(),
    )
