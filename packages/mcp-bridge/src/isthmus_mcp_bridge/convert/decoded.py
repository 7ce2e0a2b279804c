"""A served resource as plain values, for people and for comparisons."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_mcp_bridge.mcp.snapshot import SnapshotResource


def decoded(resource: SnapshotResource) -> dict[str, Any]:
    """Metadata and ServiceEntry of a resource that the bridge made, in protobuf's JSON form."""
    outer = any_pb2.Any.FromString(resource.packed)
    wrapped = Resource.FromString(outer.value)
    entry = ServiceEntry.FromString(wrapped.body.value)
    return {"metadata": MessageToDict(wrapped.metadata), "spec": MessageToDict(entry)}
