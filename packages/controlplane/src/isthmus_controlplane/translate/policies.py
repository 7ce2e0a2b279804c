"""Objects that are served as they were written, in MCP's envelope: policies that another part of the mesh carries out."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_controlplane.model.model import Model, full_host
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.collector import Collector
from isthmus_controlplane.translate.translation import DUAL_MODE_TYPE, Translation


def translate_policies(model: Model) -> Translation:
    """The DualModes, named ``namespace/name``; a short host name is written out, for only here is known what it means."""
    out = Collector((DUAL_MODE_TYPE,))
    for policy in model.policies:
        spec: Any = policy.spec
        full = type(spec)()
        full.CopyFrom(spec)
        if spec.host:
            full.host = full_host(model.services, spec.host, policy.key.namespace)
        name = f"{policy.key.namespace}/{policy.key.name}"
        out.add(DUAL_MODE_TYPE, name, _envelope(name, policy, full), (policy.key,))
    return out.finish()


def _envelope(name: str, obj: ConfigObject, spec: Any) -> Resource:
    metadata = Metadata(name=name, version=obj.version, labels=obj.labels, annotations=obj.annotations)
    if obj.create_time is not None:
        metadata.create_time.CopyFrom(Timestamp(seconds=int(obj.create_time)))
    body = Packed()
    body.Pack(spec, deterministic=True)
    return Resource(metadata=metadata, body=body)
