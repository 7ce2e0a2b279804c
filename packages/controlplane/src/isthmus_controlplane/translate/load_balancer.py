"""Load balancing of a cluster, and the hash policies that consistent hashing needs on routes."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import RouteAction
from google.protobuf.wrappers_pb2 import UInt64Value

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings

DEFAULT_RING_SIZE = 1024  # Istio's and Envoy's
_SIMPLE = {
    LoadBalancerSettings.ROUND_ROBIN: Cluster.ROUND_ROBIN,
    LoadBalancerSettings.RANDOM: Cluster.RANDOM,
    LoadBalancerSettings.LEAST_REQUEST: Cluster.LEAST_REQUEST,
    LoadBalancerSettings.LEAST_CONN: Cluster.LEAST_REQUEST,
}


def set_load_balancer(cluster: Any, settings: Any) -> None:
    """Set the policy of a cluster from ``LoadBalancerSettings``; None, or nothing chosen, is Istio's LEAST_REQUEST."""
    if settings is not None and settings.HasField("consistent_hash"):
        _set_consistent_hash(cluster, settings.consistent_hash)
        return
    simple = settings.simple if settings is not None else LoadBalancerSettings.UNSPECIFIED
    cluster.lb_policy = _SIMPLE.get(simple, Cluster.LEAST_REQUEST)
    if settings is not None:
        _set_slow_start(cluster, settings)


def _set_slow_start(cluster: Any, settings: Any) -> None:
    """Give new endpoints a share that grows; only these two policies can."""
    if settings.HasField("warmup"):
        duration = settings.warmup.duration
    elif settings.HasField("warmup_duration_secs"):
        duration = settings.warmup_duration_secs
    else:
        return
    config = Cluster.SlowStartConfig(slow_start_window=duration)
    if settings.warmup.HasField("minimum_percent"):
        config.min_weight_percent.value = settings.warmup.minimum_percent.value
    if cluster.lb_policy == Cluster.ROUND_ROBIN:
        cluster.round_robin_lb_config.slow_start_config.CopyFrom(config)
    elif cluster.lb_policy == Cluster.LEAST_REQUEST:
        cluster.least_request_lb_config.slow_start_config.CopyFrom(config)


def _set_consistent_hash(cluster: Any, settings: Any) -> None:
    if settings.HasField("maglev"):
        cluster.lb_policy = Cluster.MAGLEV
        if settings.maglev.table_size:
            cluster.maglev_lb_config.table_size.CopyFrom(UInt64Value(value=settings.maglev.table_size))
        return
    size = settings.ring_hash.minimum_ring_size or settings.minimum_ring_size or DEFAULT_RING_SIZE
    cluster.lb_policy = Cluster.RING_HASH
    cluster.ring_hash_lb_config.minimum_ring_size.CopyFrom(UInt64Value(value=size))


def hash_policy(settings: Any) -> Any:
    """Return the HashPolicy of a route for ``LoadBalancerSettings``; None where nothing is hashed."""
    if settings is None or not settings.HasField("consistent_hash"):
        return None
    key = settings.consistent_hash
    policy = RouteAction.HashPolicy()
    match key.WhichOneof("hash_key"):
        case "http_header_name":
            policy.header.header_name = key.http_header_name
        case "http_cookie":
            _set_cookie(policy.cookie, key.http_cookie)
        case "use_source_ip":
            policy.connection_properties.source_ip = True
        case "http_query_parameter_name":
            policy.query_parameter.name = key.http_query_parameter_name
    return policy


def hashes_source_ip(settings: Any) -> bool:
    """Whether connections are told apart by the client's address, the one key that TCP has too."""
    return settings is not None and settings.consistent_hash.use_source_ip


def _set_cookie(policy: Any, cookie: Any) -> None:
    policy.name = cookie.name
    policy.path = cookie.path
    if cookie.HasField("ttl"):
        policy.ttl.CopyFrom(cookie.ttl)
    for attribute in cookie.attributes:
        policy.attributes.add(name=attribute.name, value=attribute.value)
