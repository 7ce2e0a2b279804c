"""Instances of registries that know services by plain names (Consul, Nacos, Eureka) as providers; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from isthmus_mcp_bridge.catalog.istio_rules import is_ip
from isthmus_mcp_bridge.errors import HostNameError, shorten
from isthmus_mcp_bridge.events import Problem
from isthmus_mcp_bridge.model import EndpointClaim, Presence
from isthmus_mcp_bridge.registries.book import Provider
from isthmus_mcp_bridge.registries.families import SCHEMES, service_port
from isthmus_mcp_bridge.registries.labels import mended_labels
from isthmus_mcp_bridge.registries.naming import NamingRule, name_service, service_name

MAX_WEIGHT = 1_000_000
PROTOCOL_KEYS = ("protocol", "isthmus-protocol")
"""Metadata that names an instance's scheme."""


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One registered instance. ``weight`` is relative to 100; None says nothing; less than 1 means offline."""

    address: str
    port: int
    raw_id: str
    presence: Presence = Presence.UP
    weight: float | None = None
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    locality: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    """How instances are read: the registry, the rule for hosts, service ports by family, the scheme where none is said."""

    registry: str
    rule: NamingRule
    ports: Mapping[str, int]
    scheme: str = "http"


def read_instances(
    how: Plain, origin: str, name: str, group: str, version: str, instances: Sequence[Instance]
) -> tuple[list[Provider], list[Problem]]:
    """The providers of one service, and the instances that could not be used."""
    providers, problems = [], []
    for one in sorted(instances, key=lambda found: (found.raw_id, found.address, found.port)):
        try:
            providers.append(_provider(how, name, group, version, one))
        except (ValueError, HostNameError) as error:
            value = shorten(f"{one.raw_id} {one.address}:{one.port}", 300)
            problems.append(Problem(how.registry, origin, value, f"{error}; the instance is left out"))
    return providers, problems


def _provider(how: Plain, name: str, group: str, version: str, one: Instance) -> Provider:
    if not is_ip(one.address):
        raise ValueError(f"registers the address {one.address[:80]!r}, but an endpoint needs an IP address")
    if not 0 < one.port < 65536:
        raise ValueError(f"registers the port {one.port}, which must be from 1 to 65535")
    scheme = next((one.metadata[key].lower() for key in PROTOCOL_KEYS if one.metadata.get(key)), how.scheme)
    naming = name_service(how.rule, name, group, version)
    port = service_port(SCHEMES.get(scheme, SCHEMES[how.scheme]), {**how.ports, **naming.ports})
    labels, raw_labels = mended_labels(one.metadata.items())
    weight = None if one.weight is None else min(MAX_WEIGHT, round(one.weight))
    off = one.weight is not None and one.weight <= 0
    endpoint = EndpointClaim(
        service_port=port.name,
        address=one.address,
        port=one.port,
        raw_id=one.raw_id,
        presence=Presence.OFFLINE if off else one.presence,
        weight=None if off or weight is None else max(1, weight),
        labels=labels,
        locality=one.locality,
    )
    return Provider(naming, service_name(name, group, version), port, endpoint, raw_labels)


def values(found: object, kind: Callable[[object], bool] = lambda value: isinstance(value, str)) -> dict[str, str]:
    """The pairs of a JSON object whose values are strings; what else stands there is nobody's label."""
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(key, str) and kind(value)}
