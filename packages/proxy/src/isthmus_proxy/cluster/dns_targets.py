"""What the DNS cluster types make of resolved names (config.cluster.v3.Cluster.DiscoveryType). Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace

from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig


def names_of(assignment: Assignment) -> list[str]:
    """Hosts of an assignment that have to be looked up, each once; IP literals are none."""
    hosts = (endpoint.host for locality in assignment.localities for endpoint in locality.endpoints)
    return list(dict.fromkeys(host for host in hosts if not _is_literal(host)))


def expand(config: ClusterConfig, addresses: Mapping[str, Sequence[str]]) -> Assignment:
    """Return the assignment with every name replaced by its ``addresses``: an endpoint each (STRICT_DNS), or one endpoint with all.

    A name without addresses gives no endpoint.
    """
    assignment = config.assignment or Assignment(config.name)
    logical = config.discovery == "LOGICAL_DNS"
    localities = []
    for locality in assignment.localities:
        endpoints: list[EndpointConfig] = []
        for endpoint in locality.endpoints:
            resolved = [endpoint.host] if _is_literal(endpoint.host) else addresses.get(endpoint.host, ())
            named = endpoint.hostname or endpoint.host
            each = [replace(endpoint, host=address, hostname=named) for address in resolved]
            if logical and len(each) > 1:
                others = tuple((other.host, other.port) for other in each[1:])
                each = [replace(each[0], additional_addresses=others)]
            endpoints += each
        localities.append(replace(locality, endpoints=tuple(endpoints)))
    return replace(assignment, localities=tuple(localities))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
