"""Checks one claim by Istio's rules before it may take part in a merge.

A merge of claims that pass makes a ServiceEntry that passes (a property test holds this), so a bad entry of one
registry never harms what another one says about the same service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from isthmus_mcp_bridge.catalog import istio_rules
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServicePort

MAX_PORTS = 256
"""Istio's own limit of ports an entry."""
MAX_WEIGHT = 1_000_000
"""Weights are summed in 32 bits; this leaves room for thousands of endpoints."""


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A value that breaks a rule of Istio: where it stands in the claim, and the rule."""

    path: str
    value: str
    rule: str


def violations(claim: ServiceClaim) -> tuple[Violation, ...]:
    """All rules that the claim breaks; none means that it may be merged."""
    return tuple(_service(claim)) + tuple(_ports(claim.ports)) + tuple(_endpoints(claim))


def _service(claim: ServiceClaim) -> Iterator[Violation]:
    if not istio_rules.is_host(claim.key.host):
        yield Violation("host", claim.key.host, "must be a lower-case DNS name whose last label is not all digits")
    if not istio_rules.is_dns_label(claim.key.namespace):
        yield Violation("namespace", claim.key.namespace, "must be a DNS label")
    if not claim.ports:
        yield Violation("ports", "[]", "must hold at least one port")
    if len(claim.ports) > MAX_PORTS:
        yield Violation("ports", str(len(claim.ports)), f"must hold at most {MAX_PORTS} ports")
    for index, address in enumerate(claim.addresses):
        if not istio_rules.is_ip_or_cidr(address):
            yield Violation(f"addresses[{index}]", address, "must be an IP address or CIDR")


def _ports(ports: tuple[ServicePort, ...]) -> Iterator[Violation]:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(ports):
        path = f"ports[{index}]"
        if not istio_rules.is_dns_label(port.name):
            yield Violation(f"{path}.name", port.name, "must be a DNS label in lower case")
        if not istio_rules.is_port(port.number):
            yield Violation(f"{path}.number", str(port.number), "must be from 1 to 65535")
        if port.protocol not in istio_rules.PROTOCOLS:
            known = ", ".join(sorted(istio_rules.PROTOCOLS))
            yield Violation(f"{path}.protocol", port.protocol, f"must be one of {known}")
        if port.name in names:
            yield Violation(f"{path}.name", port.name, "stands twice")
        if port.number in numbers:
            yield Violation(f"{path}.number", str(port.number), "stands twice")
        names.add(port.name)
        numbers.add(port.number)


def _endpoints(claim: ServiceClaim) -> Iterator[Violation]:
    names = {port.name for port in claim.ports}
    for index, endpoint in enumerate(claim.endpoints):
        path = f"endpoints[{index}]"
        if endpoint.service_port not in names:
            yield Violation(f"{path}.port", endpoint.service_port, "must name a port of the service")
        yield from _endpoint(endpoint, path)


def _endpoint(endpoint: EndpointClaim, path: str) -> Iterator[Violation]:
    if not istio_rules.is_ip(endpoint.address):
        yield Violation(f"{path}.address", endpoint.address, "must be an IP address")
    if not istio_rules.is_port(endpoint.port):
        yield Violation(f"{path}.port", str(endpoint.port), "must be from 1 to 65535")
    if endpoint.weight is not None and not 0 < endpoint.weight <= MAX_WEIGHT:
        yield Violation(f"{path}.weight", str(endpoint.weight), f"must be from 1 to {MAX_WEIGHT}")
    for key, value in endpoint.labels:
        if not istio_rules.is_label_key(key):
            yield Violation(f"{path}.labels", key, "must be an Istio label key ([prefix/]name)")
        if not istio_rules.is_label_value(value):
            yield Violation(f"{path}.labels.{key}", value, "must be an Istio label value")
