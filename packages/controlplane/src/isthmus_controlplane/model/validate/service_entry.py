"""Rules of ServiceEntry and WorkloadEntry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.protocol import PROTOCOLS
from isthmus_controlplane.model.validate.text import (
    check_export_to,
    check_host,
    check_label_name,
    check_port,
    is_ip_address,
)

# Above this a cluster's total weight could leave the 32 bits of ClusterLoadAssignment.
MAX_WEIGHT = 1_000_000
MAX_LOCALITY_PARTS = 3


def validate_service_entry(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a ServiceEntry."""
    yield from _hosts(spec)
    yield from _ports(spec)
    for index, address in enumerate(spec.addresses):
        if not is_ip_address(address):
            message = f"{shown(address)} is not an IP address: ranges and names are not supported here"
            yield FieldProblem(f"spec.addresses[{index}]", message)
    if spec.endpoints and spec.HasField("workload_selector"):
        yield FieldProblem("spec.workloadSelector", "cannot stand beside endpoints: give one of the two")
    if spec.HasField("workload_selector") and not spec.workload_selector.labels:
        yield FieldProblem("spec.workloadSelector.labels", "is empty: give the labels of the WorkloadEntries")
    yield from _endpoints(spec)
    yield from check_export_to(spec.export_to)


def validate_workload_entry(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a WorkloadEntry."""
    yield from _workload(spec, "spec", names_allowed=True)


def validate_workload_group(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a WorkloadGroup: its template is a WorkloadEntry without an address."""
    if not spec.HasField("template"):
        yield FieldProblem("spec.template", "is missing: say what the WorkloadEntries have in common")
        return
    template = type(spec.template)()
    template.CopyFrom(spec.template)
    template.address = "0.0.0.0"  # noqa: S104 - each entry has one of its own
    yield from _workload(template, "spec.template", names_allowed=False)


def _hosts(spec: Any) -> Iterator[FieldProblem]:
    if not spec.hosts:
        yield FieldProblem("spec.hosts", "is empty: give at least one host name")
    for index, host in enumerate(spec.hosts):
        path = f"spec.hosts[{index}]"
        yield from check_host(host, path, wildcard=spec.resolution != ServiceEntry.DNS or bool(spec.endpoints))
        if host in spec.hosts[:index]:
            yield FieldProblem(path, f"{shown(host)} stands there twice: remove one")


def _ports(spec: Any) -> Iterator[FieldProblem]:
    if not spec.ports:
        yield FieldProblem("spec.ports", "is empty: give at least one port with number, name and protocol")
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        yield from check_port(port.number, f"{path}.number")
        if port.target_port:
            yield from check_port(port.target_port, f"{path}.targetPort")
        yield from check_label_name(port.name, f"{path}.name")
        if port.protocol.upper() not in PROTOCOLS:
            message = f"{shown(port.protocol)} is not supported: choose one of {', '.join(PROTOCOLS)}"
            yield FieldProblem(f"{path}.protocol", message)
        for attribute in ("number", "name"):
            value = getattr(port, attribute)
            if any(getattr(other, attribute) == value for other in spec.ports[:index]):
                yield FieldProblem(f"{path}.{attribute}", f"{shown(value)} is used by another port of this entry")


def _endpoints(spec: Any) -> Iterator[FieldProblem]:
    port_names = {port.name for port in spec.ports}
    names_allowed = spec.resolution == ServiceEntry.DNS
    for index, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{index}]"
        yield from _workload(endpoint, path, names_allowed=names_allowed)
        for name in sorted(endpoint.ports):
            if name not in port_names:
                message = (
                    f"the port name {shown(name)} is not one of this entry's ports: {', '.join(sorted(port_names))}"
                )
                yield FieldProblem(f"{path}.ports.{name}", message)


def _workload(workload: Any, path: str, *, names_allowed: bool) -> Iterator[FieldProblem]:
    address = workload.address
    if not is_ip_address(address):
        if not names_allowed:
            message = f"{shown(address)} is not an IP address: for names use resolution DNS"
            yield FieldProblem(f"{path}.address", message)
        else:
            yield from check_host(address, f"{path}.address", wildcard=False)
    for name, number in sorted(workload.ports.items()):
        yield from check_port(number, f"{path}.ports.{name}")
    if workload.weight > MAX_WEIGHT:
        yield FieldProblem(f"{path}.weight", f"{workload.weight} is too large: use 0 to {MAX_WEIGHT}")
    if workload.locality.count("/") >= MAX_LOCALITY_PARTS:
        yield FieldProblem(
            f"{path}.locality", f"{shown(workload.locality)} has too many parts: use region/zone/subzone"
        )
