"""Wraps a ServiceEntry as MCP carries it: ``istio.mcp.v1alpha1.Resource`` in an Any, named and versioned."""

from __future__ import annotations

import hashlib
import json

from google.protobuf.timestamp_pb2 import Timestamp

from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_mcp_bridge.convert.service_entry import Entry
from isthmus_mcp_bridge.mcp.snapshot import HASH_DIGITS, SnapshotResource
from isthmus_mcp_bridge.mcp.wire import embedded, varint
from isthmus_mcp_bridge.model import MergedService

TYPE_URL_PREFIX = "type.googleapis.com/"
RAW_NAMES = "isthmus.dev/raw-names"
"""Annotation: the names under which the registries know the service, comma-separated."""
RAW_LABELS = "isthmus.dev/raw-labels"
"""Annotation: labels that had to be mended for Istio, as a JSON object from what they became to what they were."""
MAX_RAW_LABELS = 100
"""Mended labels kept in the annotation, those of the first by name; an instance's own metadata may be endless."""
_ENTRY_URL = (TYPE_URL_PREFIX + ServiceEntry.DESCRIPTOR.full_name).encode()
_RESOURCE_URL = (TYPE_URL_PREFIX + Resource.DESCRIPTOR.full_name).encode()
_METADATA, _BODY, _VALUE = 1, 2, 2
"""Field numbers of Resource, and of Any."""

Part = bytes | memoryview


def to_resource(service: MergedService, entry: Entry) -> SnapshotResource:
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
    size = len(entry.head) + len(entry.endpoints)
    body = (*_any_parts(_ENTRY_URL, size), entry.head, entry.endpoints)
    unversioned = _resource_parts(metadata, body)
    digest = hashlib.sha256()
    for part in unversioned:
        digest.update(part)
    metadata.version = digest.hexdigest()[:HASH_DIGITS]
    resource = _resource_parts(metadata, body)
    packed = b"".join((*_any_parts(_RESOURCE_URL, sum(map(len, resource))), *resource))
    return SnapshotResource(service.key.name, metadata.version, packed, service.sources)


def _resource_parts(metadata: Metadata, body: tuple[Part, ...]) -> tuple[Part, ...]:
    """A Resource, deterministically serialised; the body's parts are not copied, as they may be megabytes."""
    head = embedded(_METADATA, metadata.SerializeToString(deterministic=True))
    return (head, varint(_BODY << 3 | 2) + varint(sum(map(len, body))), *body)


def _any_parts(type_url: bytes, size: int) -> tuple[bytes, ...]:
    """An Any as far as the value of ``size`` bytes that follows."""
    return (embedded(1, type_url), varint(_VALUE << 3 | 2) + varint(size))
