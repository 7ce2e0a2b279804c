"""Whatever fits the descriptors comes back unchanged from bytes and from JSON."""

from typing import Any as AnyValue

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import RequestResources, Resources
from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import Destination, VirtualService

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}
DEPTH = 5


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_garbage_is_decoded_or_refused(data: bytes) -> None:
    for kind in (ServiceEntry, VirtualService, DestinationRule, Resources):
        try:
            message: Message = kind.FromString(data)
        except DecodeError:
            continue
        # Bytes, not messages: a NaN differs from itself.
        again = kind.FromString(message.SerializeToString())
        assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


@st.composite
def messages(draw: st.DrawFn, kind: type[Message], depth: int = DEPTH) -> Message:
    """Messages of a kind: any subset of its fields, at most one of each oneof, nested up to ``depth``."""
    message = kind()
    descriptor: Descriptor = descriptor_pool.Default().FindMessageTypeByName(kind.DESCRIPTOR.full_name)
    for field in draw(st.lists(st.sampled_from(list(descriptor.fields)), unique=True, max_size=5)):
        fill(draw, message, field, depth)
    return message


def fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    """Set one field, unless it nests too deep."""
    target: AnyValue = getattr(message, field.name)
    entry_type = field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
    if entry_type is not None:
        fill_map(draw, target, entry_type.fields_by_name["value"], depth)
    elif field.message_type is not None:
        if depth:
            value = draw(values(field, depth))
            target.append(value) if field.is_repeated else target.CopyFrom(value)
    elif field.is_repeated:
        target.extend(draw(st.lists(values(field, depth), max_size=3)))
    else:
        setattr(message, field.name, draw(values(field, depth)))


def fill_map(draw: st.DrawFn, target: AnyValue, field: FieldDescriptor, depth: int) -> None:
    for key in draw(st.lists(st.text(max_size=5), max_size=3)):
        if field.message_type is None:
            target[key] = draw(values(field, depth))
        elif depth:
            target[key].CopyFrom(draw(values(field, depth)))


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[AnyValue]:
    """Values of one element of a field."""
    if field.message_type is not None:
        return message_values(message_factory.GetMessageClass(field.message_type), depth)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.cpp_type in INTEGERS:
        return INTEGERS[field.cpp_type]
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats(allow_nan=False)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    return st.binary(max_size=8) if field.type == FieldDescriptor.TYPE_BYTES else st.text(max_size=8)


def message_values(kind: type[Message], depth: int) -> st.SearchStrategy[Message]:
    """Nested messages; those with rules of their own (Any, Duration, Timestamp) within their rules."""
    match kind.DESCRIPTOR.full_name:
        case "google.protobuf.Any":
            # A kind without maps: their order in the bytes is free.
            return messages(Destination, depth - 1).map(packed)
        case "google.protobuf.Duration" | "google.protobuf.Timestamp":
            return st.builds(kind, seconds=st.integers(0, 10**9), nanos=st.integers(0, 999_999_999))
        case _:
            return messages(kind, depth - 1)


def packed(message: Message) -> Any:
    body = Any()
    body.Pack(message)
    return body


@pytest.mark.parametrize("kind", [ServiceEntry, VirtualService, DestinationRule, RequestResources, Resources])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(data=st.data())
def test_round_trip_through_bytes_and_json(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert kind.FromString(message.SerializeToString()) == message
    assert json_format.ParseDict(json_format.MessageToDict(message), kind()) == message
