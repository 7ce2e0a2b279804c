"""Compiles config.endpoint.v3.ClusterLoadAssignment, inline in a cluster or from EDS."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.model import Assignment, EndpointConfig, LocalityEndpoints
from isthmus_proxy.config.check import check
from isthmus_proxy.config.health_check import compile_endpoint_health_check
from isthmus_proxy.config.metadata import TRANSPORT_SOCKET_MATCH, compile_metadata
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import enum_name, number, required, socket_address
from isthmus_proxy.errors import ConfigError

MAX_PRIORITY = 128  # as in Envoy


def compile_assignment(proto: Any, path: str = "", *, names: bool = False) -> Assignment:
    """Check and compile an assignment; endpoint hosts may be names only where ``names`` is true. Raises ConfigError."""
    check(proto, path)
    place = join(path, "endpoints")
    localities = tuple(_locality(group, f"{place}[{i}]", names) for i, group in enumerate(proto.endpoints))
    used = {locality.priority for locality in localities}
    for priority in range(max(used, default=0)):
        if priority not in used:
            raise ConfigError(
                place, f"priorities {sorted(used)}", f"priority {priority} is left out; number them from 0"
            )
    return Assignment(
        required(proto, "cluster_name", path),
        localities,
        number(proto.policy, "overprovisioning_factor", 140, join(path, "policy"), low=1),
        proto.policy.weighted_priority_health,
    )


def _locality(group: Any, path: str, names: bool) -> LocalityEndpoints:
    if group.priority > MAX_PRIORITY:
        raise ConfigError(join(path, "priority"), str(group.priority), f"must be at most {MAX_PRIORITY}")
    return LocalityEndpoints(
        tuple(
            _endpoint(item, f"{join(path, 'lb_endpoints')}[{i}]", names) for i, item in enumerate(group.lb_endpoints)
        ),
        region=group.locality.region,
        zone=group.locality.zone,
        sub_zone=group.locality.sub_zone,
        weight=number(group, "load_balancing_weight", 0, path, low=1) if group.HasField("locality") else 0,
        priority=group.priority,
    )


def _endpoint(item: Any, path: str, names: bool) -> EndpointConfig:
    host, port = socket_address(item.endpoint.address, join(path, "endpoint.address"), names=names)
    if port == 0:
        raise ConfigError(join(path, "endpoint.address.socket_address.port_value"), "0", "must be from 1 to 65535")
    return EndpointConfig(
        host,
        port,
        weight=number(item, "load_balancing_weight", 1, path, low=1),
        health=enum_name(item, "health_status"),  # type: ignore[arg-type]
        hostname=item.endpoint.hostname,
        metadata=compile_metadata(item.metadata) or (),
        transport_metadata=compile_metadata(item.metadata, TRANSPORT_SOCKET_MATCH) or (),
        **_additional_addresses(item.endpoint, join(path, "endpoint"), names),
        **_own_check(item.endpoint, join(path, "endpoint.health_check_config")),
    )


def _additional_addresses(endpoint: Any, path: str, names: bool) -> dict[str, Any]:
    """As ``_own_check``. Only IP addresses can have some: names have all to which they resolve."""
    if not endpoint.additional_addresses:
        return {}
    place = join(path, "additional_addresses")
    if names:
        raise ConfigError(place, "", "is for clusters of the types STATIC and EDS; names are resolved to all addresses")
    addresses = []
    for index, each in enumerate(endpoint.additional_addresses):
        here = f"{place}[{index}].address"
        address = socket_address(each.address, here)
        if address[1] == 0:
            raise ConfigError(f"{here}.socket_address.port_value", "0", "must be from 1 to 65535")
        addresses.append(address)
    return {"additional_addresses": tuple(addresses)}


def _own_check(endpoint: Any, path: str) -> dict[str, Any]:
    """What few endpoints have: the default is one object for all others."""
    if not endpoint.HasField("health_check_config"):
        return {}
    return {"health_check": compile_endpoint_health_check(endpoint.health_check_config, path)}
