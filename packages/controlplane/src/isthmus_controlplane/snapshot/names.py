"""The name of a resource, by which clients subscribe to it."""

from __future__ import annotations

from google.protobuf.message import Message

from isthmus_controlplane.snapshot.xdstp import canonical

# Where the name of a resource is not in its field ``name``.
_NAME_FIELDS = {"envoy.config.endpoint.v3.ClusterLoadAssignment": "cluster_name"}


def name_of(message: Message) -> str:
    """Return the name of a resource; empty where it has none."""
    field = _NAME_FIELDS.get(message.DESCRIPTOR.full_name, "name")
    return canonical(str(getattr(message, field, "")))
