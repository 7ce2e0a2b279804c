"""Every message says what Istio's says: same names, numbers, types, oneofs and reservations."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor

from isthmus_api.istio.mcp.v1alpha1 import mcp_pb2, metadata_pb2, resource_pb2
from isthmus_api.istio.networking.v1alpha3 import (
    destination_rule_pb2,
    envoy_filter_pb2,
    gateway_pb2,
    service_entry_pb2,
    sidecar_pb2,
    virtual_service_pb2,
    workload_entry_pb2,
    workload_group_pb2,
    workload_selector_pb2,
)
from isthmus_api.istio.security.v1beta1 import (
    authorization_policy_pb2,
    peer_authentication_pb2,
    request_authentication_pb2,
)
from isthmus_api.istio.telemetry.v1alpha1 import telemetry_pb2
from isthmus_api.istio.type.v1beta1 import selector_pb2

FACTS = Path(__file__).parent / "data" / "istio_fields.txt"
MODULES = [
    mcp_pb2,
    metadata_pb2,
    resource_pb2,
    destination_rule_pb2,
    envoy_filter_pb2,
    gateway_pb2,
    service_entry_pb2,
    sidecar_pb2,
    virtual_service_pb2,
    workload_entry_pb2,
    workload_group_pb2,
    workload_selector_pb2,
    authorization_policy_pb2,
    peer_authentication_pb2,
    request_authentication_pb2,
    telemetry_pb2,
    selector_pb2,
]
REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def read_facts() -> dict[str, list[str]]:
    """Lines of the fact table by heading."""
    blocks: dict[str, list[str]] = {}
    heading = ""
    for line in FACTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            blocks[heading].append(line.strip())
        elif not line.startswith("#"):
            heading = line
            blocks[heading] = []
    return blocks


def type_name(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return field.type_name.lstrip(".") or descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)[5:].lower()


def field_line(field: descriptor_pb2.FieldDescriptorProto, message: descriptor_pb2.DescriptorProto, full: str) -> str:
    entries = {f"{full}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    kind = type_name(field)
    if kind in entries:
        kind = f"map<{','.join(type_name(part) for part in entries[kind].field)}>"
    elif field.label == REPEATED:
        kind = f"repeated {kind}"
    oneof = f" oneof {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
    deprecated = " deprecated" if field.options.deprecated else ""
    return f"{field.number} {field.name} {json_name(full, field.name)} {kind}{oneof}{deprecated}"


def json_name(full: str, name: str) -> str:
    """The JSON name that json_format reads and writes."""
    descriptor: Descriptor = descriptor_pool.Default().FindMessageTypeByName(full)
    return descriptor.fields_by_name[name].json_name


def message_blocks(prefix: str, message: descriptor_pb2.DescriptorProto) -> Iterator[tuple[str, list[str]]]:
    if message.options.map_entry:
        return
    full = f"{prefix}.{message.name}"
    lines = [field_line(field, message, full) for field in sorted(message.field, key=lambda field: field.number)]
    lines += [f"reserved {span.start}-{span.end - 1}" for span in message.reserved_range]
    lines += [f"reserved {name}" for name in sorted(message.reserved_name)]
    yield f"message {full}", lines
    for enum in message.enum_type:
        yield f"enum {full}.{enum.name}", enum_lines(enum)
    for nested in message.nested_type:
        yield from message_blocks(full, nested)


def enum_lines(enum: descriptor_pb2.EnumDescriptorProto) -> list[str]:
    return [f"{v.number} {v.name}{' deprecated' * v.options.deprecated}" for v in enum.value]


def service_blocks(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, list[str]]]:
    for service in file.service:
        for method in service.method:
            request = f"{'stream' if method.client_streaming else 'single'} {method.input_type[1:]}"
            response = f"{'stream' if method.server_streaming else 'single'} {method.output_type[1:]}"
            yield f"method {file.package}.{service.name}.{method.name} {request} {response}", []


def declared() -> dict[str, list[str]]:
    """The same lines as the fact table, from the descriptors that the generated code registers."""
    blocks: dict[str, list[str]] = {}
    for module in MODULES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            blocks.update(message_blocks(file.package, message))
        for enum in file.enum_type:
            blocks[f"enum {file.package}.{enum.name}"] = enum_lines(enum)
        blocks.update(service_blocks(file))
    return blocks


@pytest.mark.parametrize("heading", sorted(read_facts()))
def test_declaration_equals_istios(heading: str) -> None:
    assert declared().get(heading) == read_facts()[heading]


def test_nothing_is_declared_that_istio_does_not_have() -> None:
    assert declared().keys() == read_facts().keys()
