"""The resource of a merged service made of protobuf's messages, whole each time: what ``convert`` is held against."""

from __future__ import annotations

import hashlib
import json

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry, ServicePort
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from isthmus_mcp_bridge.convert.resource import MAX_RAW_LABELS, RAW_LABELS, RAW_NAMES, TYPE_URL_PREFIX
from isthmus_mcp_bridge.mcp.snapshot import HASH_DIGITS, SnapshotResource
from isthmus_mcp_bridge.model import MergedService, Workload, workload_order


def service_entry(service: MergedService) -> ServiceEntry:
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


def resource(service: MergedService) -> SnapshotResource:
    """What ``convert.resource.to_resource`` makes of the service's entry."""
    created = Timestamp(seconds=service.created_ms // 1000, nanos=service.created_ms % 1000 * 1_000_000)
    annotations = {RAW_NAMES: ",".join(service.raw_names)} if service.raw_names else {}
    if service.raw_labels:
        mended = dict(sorted(service.raw_labels, reverse=True)[-MAX_RAW_LABELS:])
        annotations[RAW_LABELS] = json.dumps(mended, ensure_ascii=False, sort_keys=True)
    metadata = Metadata(name=service.key.name, create_time=created, annotations=annotations)
    made = Resource(metadata=metadata, body=_pack(service_entry(service)))
    made.metadata.version = hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest()[:HASH_DIGITS]
    packed = _pack(made).SerializeToString(deterministic=True)
    return SnapshotResource(service.key.name, made.metadata.version, packed, service.sources)


def _pack(message: Message) -> Any:
    type_url = TYPE_URL_PREFIX + message.DESCRIPTOR.full_name
    return Any(type_url=type_url, value=message.SerializeToString(deterministic=True))
