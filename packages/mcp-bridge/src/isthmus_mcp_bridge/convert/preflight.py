"""The last check before publication: the ServiceEntry as a whole, by Istio's rules for what the bridge makes.

Claims were checked one by one, and merges of good claims are good; so a finding here is a fault of the bridge. It costs
the one service its update, never the mesh its services.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from isthmus_mcp_bridge.catalog import istio_rules
from isthmus_mcp_bridge.catalog.claim_check import Violation


def entry_violations(entry: ServiceEntry) -> tuple[Violation, ...]:
    """All rules that the entry breaks; none means that istiod takes it."""
    return tuple(_head(entry)) + tuple(_ports(entry)) + tuple(_endpoints(entry))


def _head(entry: ServiceEntry) -> Iterator[Violation]:
    if not entry.hosts:
        yield Violation("hosts", "[]", "must name a host")
    for index, host in enumerate(entry.hosts):
        if not istio_rules.is_host(host):
            yield Violation(f"hosts[{index}]", host, "must be a lower-case DNS name")
    for index, address in enumerate(entry.addresses):
        if not istio_rules.is_ip_or_cidr(address):
            yield Violation(f"addresses[{index}]", address, "must be an IP address or CIDR")
    if entry.resolution != ServiceEntry.STATIC:
        yield Violation("resolution", str(entry.resolution), "must be STATIC")
    if entry.HasField("workload_selector") and entry.endpoints:
        yield Violation("workload_selector", "", "must not stand beside endpoints")


def _ports(entry: ServiceEntry) -> Iterator[Violation]:
    if not entry.ports:
        yield Violation("ports", "[]", "must hold a port")
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(entry.ports):
        path = f"ports[{index}]"
        if not istio_rules.is_dns_label(port.name) or port.name in names:
            yield Violation(f"{path}.name", port.name, "must be a DNS label and stand once")
        if not istio_rules.is_port(port.number) or port.number in numbers:
            yield Violation(f"{path}.number", str(port.number), "must be from 1 to 65535 and stand once")
        if port.protocol not in istio_rules.PROTOCOLS:
            yield Violation(f"{path}.protocol", port.protocol, "must be a protocol that Istio knows")
        names.add(port.name)
        numbers.add(port.number)


def _endpoints(entry: ServiceEntry) -> Iterator[Violation]:
    names = {port.name for port in entry.ports}
    for index, endpoint in enumerate(entry.endpoints):
        path = f"endpoints[{index}]"
        if not istio_rules.is_ip(endpoint.address):
            yield Violation(f"{path}.address", endpoint.address, "must be an IP address")
        if len(endpoint.ports) != len(names) or any(name not in endpoint.ports for name in names):
            # Istio takes a missing one for the service port's own number, where nothing listens.
            yield Violation(f"{path}.ports", ", ".join(endpoint.ports), "must have exactly the ports of the service")
        yield from _endpoint_values(endpoint, path)


def _endpoint_values(endpoint: WorkloadEntry, path: str) -> Iterator[Violation]:
    for name, number in endpoint.ports.items():
        if not istio_rules.is_port(number):
            yield Violation(f"{path}.ports.{name}", str(number), "must be from 1 to 65535")
    for key, value in endpoint.labels.items():
        if not istio_rules.is_label_key(key) or not istio_rules.is_label_value(value):
            yield Violation(f"{path}.labels.{key}", value, "must be an Istio label")
