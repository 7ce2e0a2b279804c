"""Reflection as tools ask for it; protobuf reads what was written by hand."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.xds.reflection import SERVICES, answer
from isthmus_controlplane.xds.server import XdsServer

MESSAGES: dict[str, list[tuple[int, str, int, str]]] = {
    "Request": [
        (1, "host", Field.TYPE_STRING, ""),
        (3, "file_by_filename", Field.TYPE_STRING, ""),
        (4, "file_containing_symbol", Field.TYPE_STRING, ""),
        (6, "all_extension_numbers_of_type", Field.TYPE_STRING, ""),
        (7, "list_services", Field.TYPE_STRING, ""),
    ],
    "Files": [(1, "file_descriptor_proto", Field.TYPE_BYTES, "*")],
    "Service": [(1, "name", Field.TYPE_STRING, "")],
    "Services": [(1, "service", Field.TYPE_MESSAGE, "*Service")],
    "Error": [(1, "error_code", Field.TYPE_INT32, ""), (2, "error_message", Field.TYPE_STRING, "")],
    "Response": [
        (2, "original_request", Field.TYPE_MESSAGE, "Request"),
        (4, "file_descriptor_response", Field.TYPE_MESSAGE, "Files"),
        (6, "list_services_response", Field.TYPE_MESSAGE, "Services"),
        (7, "error_response", Field.TYPE_MESSAGE, "Error"),
    ],
}


def _classes() -> dict[str, Any]:
    """The messages of the protocol, as protobuf makes them."""
    file = descriptor_pb2.FileDescriptorProto(name="reflection_test.proto", package="reflection.test", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, target in fields:
            label = Field.LABEL_REPEATED if target.startswith("*") else Field.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            added.type = kind  # type: ignore[assignment] # an enum value in disguise
            if target.strip("*"):
                added.type_name = f".reflection.test.{target.strip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"reflection.test.{name}"))
        for name in MESSAGES
    }


CLASSES = _classes()
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def asked(**question: str) -> Any:
    request = CLASSES["Request"](host="x", **question)
    response = CLASSES["Response"].FromString(answer(request.SerializeToString(), ["a.B", ADS]))
    assert response.original_request == request
    return response


def test_services_are_listed() -> None:
    listed = asked(list_services="*").list_services_response.service
    assert [each.name for each in listed] == ["a.B", ADS]


@pytest.mark.parametrize(
    "question", [{"file_containing_symbol": ADS}, {"file_by_filename": "envoy/service/discovery/v3/ads.proto"}]
)
def test_a_service_is_described_with_all_that_it_needs(question: dict[str, str]) -> None:
    raw = asked(**question).file_descriptor_response.file_descriptor_proto
    files = [descriptor_pb2.FileDescriptorProto.FromString(each) for each in raw]
    assert files[0].name == "envoy/service/discovery/v3/ads.proto"
    left = {file.name: file for file in files}
    assert len(left) == len(files)
    pool = descriptor_pool.DescriptorPool()

    def add(name: str) -> None:
        file = left.pop(name, None)
        if file is not None:
            for each in file.dependency:
                add(each)
            pool.Add(file)

    add(files[0].name)
    assert not left
    assert "StreamAggregatedResources" in pool.FindServiceByName(ADS).methods_by_name


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"file_containing_symbol": "no.such.Symbol"}, grpc.StatusCode.NOT_FOUND),
        ({"file_by_filename": "no/such.proto"}, grpc.StatusCode.NOT_FOUND),
        ({"all_extension_numbers_of_type": "x"}, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_what_is_not_known_is_an_error(question: dict[str, str], code: grpc.StatusCode) -> None:
    assert asked(**question).error_response.error_code == code.value[0]


@given(st.binary(max_size=60))
def test_any_bytes_get_an_answer(raw: bytes) -> None:
    assert answer(raw, []).startswith(b"\x12")


@pytest.mark.asyncio
@pytest.mark.parametrize("service", SERVICES)
async def test_the_server_lists_itself(service: str) -> None:
    server = XdsServer("127.0.0.1:0", on_scope_needed=lambda _: None)
    address = await server.start()
    channel: Any = grpc.aio.insecure_channel(address)
    call = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=CLASSES["Request"].SerializeToString,
        response_deserializer=CLASSES["Response"].FromString,
    )()
    await call.write(CLASSES["Request"](list_services="*"))
    response = await call.read()
    names = {each.name for each in response.list_services_response.service}
    assert {ADS, "grpc.health.v1.Health", *SERVICES} <= names
    await channel.close(None)
    await server.stop(0)
