"""What of a client DestinationRules care about: its place (``region/zone/subzone``), and who it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from isthmus_controlplane.stores.base import ConfigObject

ANY = "*"


def parts_of(locality: str) -> tuple[str, str, str]:
    """Return region, zone and subzone, each empty where it is not said."""
    region, zone, sub_zone = (*locality.split("/"), "", "")[:3]
    return region, zone, sub_zone


def lies_in(locality: str, wanted: str) -> bool:
    """Whether a place is one that ``wanted`` means: a part that is ``*``, or that it does not say, means any."""
    return all(part in {"", ANY, own} for own, part in zip(parts_of(locality), parts_of(wanted), strict=True))


def policies_of(rule: Any) -> Iterator[Any]:
    """Yield the traffic policies of a DestinationRule, those of ports and subsets too."""
    for policy in (rule.traffic_policy, *(subset.traffic_policy for subset in rule.subsets)):
        yield policy
        yield from policy.port_level_settings


def uses_mutual_tls(rule: ConfigObject) -> bool:
    """Whether clients call a host by mutual TLS."""
    return any(policy.tls.mode == ClientTLSSettings.ISTIO_MUTUAL for policy in policies_of(rule.spec))


def compared_labels(rule: ConfigObject) -> frozenset[str]:
    """The labels of a client that are compared with those of endpoints (``failoverPriority``)."""
    return frozenset(
        label
        for policy in policies_of(rule.spec)
        for label in policy.load_balancer.locality_lb_setting.failover_priority
        if "=" not in label
    )


def uses_tls(rule: ConfigObject) -> bool:
    """Whether clients call a host by any TLS."""
    return any(policy.tls.mode != ClientTLSSettings.DISABLE for policy in policies_of(rule.spec))


def considers_locality(rule: ConfigObject) -> bool:
    """Whether what a client gets by a DestinationRule may depend on where the client is."""
    return any(
        policy.HasField("outlier_detection") or policy.load_balancer.HasField("locality_lb_setting")
        for policy in policies_of(rule.spec)
    )
