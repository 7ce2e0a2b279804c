"""Which traffic policy of a DestinationRule holds for one port of one subset."""

from __future__ import annotations

import dataclasses
from typing import Any

_FIELDS = ("load_balancer", "connection_pool", "outlier_detection", "tls")


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What holds for one cluster; None is Istio's default.

    Attributes:
        load_balancer: a ``LoadBalancerSettings``.
        connection_pool: a ``ConnectionPoolSettings``.
        outlier_detection: an ``OutlierDetection``.
        tls: a ``ClientTLSSettings``.
    """

    load_balancer: Any = None
    connection_pool: Any = None
    outlier_detection: Any = None
    tls: Any = None


DEFAULT_POLICY = TrafficPolicy()


def traffic_policy(rule: Any, subset: Any, port: int) -> TrafficPolicy:
    """Merge the policies of a DestinationRule and of one of its subsets, as Istio does.

    The subset's fields override the rule's one by one. The settings of a port stand for all fields of the policy that
    they are in: what they leave unset has its default there (istio.networking.v1alpha3.TrafficPolicy).

    Args:
        rule: a DestinationRule, None without one.
        subset: one of its subsets, None for the whole service.
        port: number of the service's port.
    """
    merged: dict[str, Any] = {}
    for holder in (rule, subset):
        if holder is None or not holder.HasField("traffic_policy"):
            continue
        policy = holder.traffic_policy
        at_port = next((each for each in policy.port_level_settings if each.port.number == port), None)
        merged = _given(at_port) if at_port is not None else merged | _given(policy)
    return TrafficPolicy(**merged) if merged else DEFAULT_POLICY


def _given(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in _FIELDS if settings.HasField(name)}


def uses_consistent_hash(rule: Any) -> bool:
    """Whether any policy of a DestinationRule balances by consistent hash, so that routes to its host hash."""
    policies = [rule.traffic_policy, *(subset.traffic_policy for subset in rule.subsets)]
    settings = (each for policy in policies for each in (policy, *policy.port_level_settings))
    return any(each.load_balancer.HasField("consistent_hash") for each in settings)
