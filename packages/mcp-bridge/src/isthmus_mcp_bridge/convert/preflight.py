"""The last check before publication: the ServiceEntry as a whole, by Istio's rules for what the bridge makes.

Claims were checked one by one, and merges of good claims are good; so a finding here is a fault of the bridge. It costs
the one service its update, never the mesh its services.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_mcp_bridge.catalog import istio_rules
from isthmus_mcp_bridge.catalog.claim_check import Violation
from isthmus_mcp_bridge.model import Workload


def head_violations(entry: ServiceEntry) -> tuple[Violation, ...]:
    """All rules that the entry breaks as far as its endpoints do not matter."""
    return tuple(_head(entry)) + tuple(_ports(entry))


def workload_violations(workloads: Sequence[Workload], names: Collection[str], start: int = 0) -> tuple[Violation, ...]:
    """All rules that the endpoints break, the first of which has the index ``start``; ``names`` are the service's ports."""
    return tuple(one for index, workload in enumerate(workloads, start) for one in _workload(workload, names, index))


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
    if entry.HasField("workload_selector"):
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


def _workload(workload: Workload, names: Collection[str], index: int) -> Iterator[Violation]:
    path = f"endpoints[{index}]"
    if not istio_rules.is_ip(workload.address):
        yield Violation(f"{path}.address", workload.address, "must be an IP address")
    if len(workload.ports) != len(names) or any(name not in names for name, _ in workload.ports):
        # Istio takes a missing one for the service port's own number, where nothing listens.
        ports = ", ".join(name for name, _ in workload.ports)
        yield Violation(f"{path}.ports", ports, "must have exactly the ports of the service")
    for name, number in workload.ports:
        if not istio_rules.is_port(number):
            yield Violation(f"{path}.ports.{name}", str(number), "must be from 1 to 65535")
    for key, value in workload.labels:
        if not istio_rules.is_label_key(key) or not istio_rules.is_label_value(value):
            yield Violation(f"{path}.labels.{key}", value, "must be an Istio label")
