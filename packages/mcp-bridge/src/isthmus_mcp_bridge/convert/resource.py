"""Wraps a ServiceEntry as MCP carries it: ``istio.mcp.v1alpha1.Resource`` in an Any, named and versioned."""

from __future__ import annotations

import hashlib
import json

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_mcp_bridge.mcp.snapshot import HASH_DIGITS, SnapshotResource
from isthmus_mcp_bridge.model import MergedService

TYPE_URL_PREFIX = "type.googleapis.com/"
RAW_NAMES = "isthmus.dev/raw-names"
"""Annotation: the names under which the registries know the service, comma-separated."""
RAW_LABELS = "isthmus.dev/raw-labels"
"""Annotation: labels that had to be mended for Istio, as a JSON object from what they became to what they were."""
MAX_RAW_LABELS = 100
"""Mended labels kept in the annotation, those of the first by name; an instance's own metadata may be endless."""


def to_resource(service: MergedService, entry: ServiceEntry) -> SnapshotResource:
    """The resource of a service: ``namespace/host``, its version the hash of everything else in it.

    ``create_time`` is when a registry first knew the service, or the epoch where none says so: it never depends on when
    the bridge was started, because istiod orders services by it.
    """
    created = Timestamp(seconds=service.created_ms // 1000, nanos=service.created_ms % 1000 * 1_000_000)
    annotations = {RAW_NAMES: ",".join(service.raw_names)} if service.raw_names else {}
    if service.raw_labels:
        mended = dict(sorted(service.raw_labels, reverse=True)[-MAX_RAW_LABELS:])
        annotations[RAW_LABELS] = json.dumps(mended, ensure_ascii=False, sort_keys=True)
    metadata = Metadata(name=service.key.name, create_time=created, annotations=annotations)
    resource = Resource(metadata=metadata, body=_pack(entry))
    digest = hashlib.sha256(resource.SerializeToString(deterministic=True)).hexdigest()[:HASH_DIGITS]
    resource.metadata.version = digest
    packed = _pack(resource).SerializeToString(deterministic=True)
    return SnapshotResource(service.key.name, digest, packed, service.sources)


def _pack(message: Message) -> Any:
    """An Any whose bytes are deterministic (``Any.Pack`` is only so when asked)."""
    type_url = TYPE_URL_PREFIX + message.DESCRIPTOR.full_name
    return Any(type_url=type_url, value=message.SerializeToString(deterministic=True))
