"""Merged services as Istio's ServiceEntry. Everything is sorted: equal services make equal bytes.

Of a big service the next entry takes over the bytes of those workloads that have stayed the same.
"""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Sequence

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry, ServicePort
from isthmus_mcp_bridge.catalog.claim_check import Violation
from isthmus_mcp_bridge.convert.preflight import head_violations, workload_violations
from isthmus_mcp_bridge.convert.workload_bytes import workload_bytes
from isthmus_mcp_bridge.model import MergedService, Workload
from isthmus_mcp_bridge.model import ServicePort as Port
from isthmus_mcp_bridge.same import same_ends


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A serialised ServiceEntry: the bytes of its workloads (in their order, of ``lengths`` bytes) stand last in it."""

    head: bytes
    endpoints: bytes | memoryview
    ports: tuple[Port, ...]
    workloads: tuple[Workload, ...]
    lengths: array.array[int]
    violations: tuple[Violation, ...] = ()
    """The rules of Istio that it breaks; none means that istiod takes it."""


def to_service_entry(service: MergedService, previous: Entry | None = None) -> Entry:
    """The entry of one service: inside the mesh, with static endpoints, one host.

    ``previous`` is the one of before, if it broke no rule; it saves work and changes nothing about the result.
    """
    head = ServiceEntry(
        hosts=[service.key.host],
        addresses=service.addresses,
        ports=[ServicePort(number=port.number, protocol=port.protocol, name=port.name) for port in service.ports],
        location=ServiceEntry.MESH_INTERNAL,
        resolution=ServiceEntry.STATIC,
    )
    first, last = (0, 0)
    if previous is not None and previous.ports == service.ports:
        first, last = same_ends(previous.workloads, service.workloads)
    middle = service.workloads[first : len(service.workloads) - last]
    broken = head_violations(head) + workload_violations(middle, {port.name for port in service.ports}, first)
    endpoints, lengths = _endpoints(middle, previous, first, last)
    return Entry(
        head.SerializeToString(deterministic=True), endpoints, service.ports, service.workloads, lengths, broken
    )


def _endpoints(
    middle: Sequence[Workload], previous: Entry | None, first: int, last: int
) -> tuple[bytes, array.array[int]]:
    """The bytes of all workloads: the first and last ones are those of the previous entry."""
    parts = list(map(workload_bytes, middle))
    lengths = array.array("I", map(len, parts))
    if previous is None or not first + last:
        return b"".join(parts), lengths
    old, end = memoryview(previous.endpoints), len(previous.lengths) - last
    before, after = previous.lengths[:first], previous.lengths[end:]
    joined = b"".join((old[: sum(before)], *parts, old[len(old) - sum(after) :]))
    return joined, before + lengths + after
