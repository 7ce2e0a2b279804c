"""Merged services as Istio's ServiceEntry. Everything is sorted: equal services make equal bytes."""

from __future__ import annotations

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry, ServicePort
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from isthmus_mcp_bridge.model import MergedService, Workload, workload_order


def to_service_entry(service: MergedService) -> ServiceEntry:
    """The entry of one service: inside the mesh, with static endpoints, one host."""
    return ServiceEntry(
        hosts=[service.key.host],
        addresses=service.addresses,
        ports=[ServicePort(number=port.number, protocol=port.protocol, name=port.name) for port in service.ports],
        location=ServiceEntry.MESH_INTERNAL,
        resolution=ServiceEntry.STATIC,
        endpoints=[_workload_entry(workload) for workload in sorted(service.workloads, key=workload_order)],
    )


def _workload_entry(workload: Workload) -> WorkloadEntry:
    return WorkloadEntry(
        address=workload.address,
        ports=dict(workload.ports),
        labels=dict(workload.labels),
        network=workload.network,
        locality=workload.locality,
        weight=workload.weight,
        service_account=workload.service_account,
    )
