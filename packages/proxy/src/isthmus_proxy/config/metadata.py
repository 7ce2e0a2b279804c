"""Compiles metadata of the namespace ``envoy.lb``, of endpoints and of what routes ask for."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.metadata import Criteria, Value

NAMESPACE = "envoy.lb"
TRANSPORT_SOCKET_MATCH = "envoy.transport_socket_match"


def compile_struct(struct: Any) -> Criteria:
    """Names and values of a google.protobuf.Struct, sorted by name."""
    return tuple((name, _value(struct.fields[name])) for name in sorted(struct.fields))


def compile_metadata(metadata: Any, namespace: str = NAMESPACE) -> Criteria | None:
    """What config.core.v3.Metadata says in ``namespace``; None when it has no such namespace."""
    struct = metadata.filter_metadata.get(namespace)
    return None if struct is None else compile_struct(struct)


def _value(value: Any) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "list_value":
        return "list", tuple(_value(item) for item in value.list_value.values)
    if kind == "struct_value":
        return "struct", compile_struct(value.struct_value)
    if kind in ("bool_value", "number_value"):
        return "bool" if kind == "bool_value" else "number", getattr(value, kind)
    return "null", None
