"""Arranges endpoints as workloads: one address with one listening port per service port.

A ServiceEntry cannot say that a workload lacks one of the service's ports: Istio then assumes that it listens on the
service port's own number. So a port that not every workload serves would send traffic into the void. The first port (by
precedence) stays, other ports stay when every workload has them, and what is left out is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isthmus_mcp_bridge.model import Conflict, Workload, workload_order


@dataclasses.dataclass(frozen=True, slots=True)
class PlacedEndpoint:
    """A published endpoint: the port it listens on, the service ports it serves, and its workload, ports still empty."""

    port: int
    service_ports: frozenset[str]
    workload: Workload


@dataclasses.dataclass(frozen=True, slots=True)
class Arrangement:
    """The workloads, the names of the service ports that they all serve, and what had to be left out."""

    workloads: tuple[Workload, ...]
    ports: frozenset[str]
    conflicts: tuple[Conflict, ...]


def arrange(names: Sequence[str], endpoints: Sequence[PlacedEndpoint]) -> Arrangement:
    """Arrange the endpoints; ``names`` are the service's ports in order of precedence."""
    paired = [workload for group in _groups(endpoints) for workload in _pair(group)]
    served = {name for _, ports in paired for name in ports}
    first = next((name for name in names if name in served), None)
    if first is None:
        return Arrangement((), frozenset(names), ())
    staying = [(workload, ports) for workload, ports in paired if first in ports]
    kept = frozenset(name for name in names if all(name in ports for _, ports in staying))
    ordered = sorted(kept)
    workloads = tuple(_serving(workload, tuple((name, ports[name]) for name in ordered)) for workload, ports in staying)
    return Arrangement(workloads, kept, tuple(_conflicts(paired, kept, first)))


def weighing(one: Workload, weight: int) -> Workload:
    """The workload with another weight; ``dataclasses.replace`` at a fraction of the cost, for services of thousands."""
    return Workload(one.address, one.ports, one.network, one.labels, one.locality, weight, one.service_account)


def _serving(one: Workload, ports: tuple[tuple[str, int], ...]) -> Workload:
    return Workload(one.address, ports, one.network, one.labels, one.locality, one.weight, one.service_account)


def _groups(endpoints: Sequence[PlacedEndpoint]) -> list[list[PlacedEndpoint]]:
    """Endpoints that may be ports of one workload: they differ in nothing but the port."""
    groups: dict[Workload, list[PlacedEndpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.workload, []).append(endpoint)
    return [groups[workload] for workload in sorted(groups, key=workload_order)]


def _pair(group: Sequence[PlacedEndpoint]) -> list[tuple[Workload, dict[str, int]]]:
    """Several instances on one address: the first port of each service port makes the first workload, and so on."""
    if len(group) == 1:
        return [(group[0].workload, dict.fromkeys(group[0].service_ports, group[0].port))]
    listening: dict[str, list[int]] = {}
    for endpoint in sorted(group, key=lambda one: one.port):
        for name in sorted(endpoint.service_ports):
            listening.setdefault(name, []).append(endpoint.port)
    count = max(map(len, listening.values()))
    return [
        (group[0].workload, {name: ports[index] for name, ports in listening.items() if index < len(ports)})
        for index in range(count)
    ]


def _conflicts(paired: Sequence[tuple[Workload, dict[str, int]]], kept: frozenset[str], first: str) -> list[Conflict]:
    lost = sorted(
        (name, f"{workload.address}:{port}")
        for workload, ports in paired
        for name, port in ports.items()
        if name not in kept or first not in ports
    )
    message = f"left out: not every instance serves this port besides {first}; give it a host of its own"
    names = sorted({name for name, _ in lost})
    return [
        Conflict(f"ports[{name}]", ", ".join(address for other, address in lost if other == name)[:200], message)
        for name in names
    ]
