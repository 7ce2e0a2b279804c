"""The binary form: bytes and names as Istio has them."""

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import RequestResources
from isthmus_api.istio.mcp.v1alpha1.metadata_pb2 import Metadata
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry, ServicePort
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry

TYPE_URL = "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry"
# Written out by hand from the protobuf encoding: tag = number << 3 | wire type.
ENTRY_BYTES = b"\x0a\x03a.b" + b"\x1a\x0f\x08\xb8\x46\x12\x04HTTP\x1a\x04http" + b"\x20\x01\x28\x01"


def entry() -> ServiceEntry:
    port = ServicePort(number=9016, protocol="HTTP", name="http")
    return ServiceEntry(
        hosts=["a.b"], ports=[port], location=ServiceEntry.MESH_INTERNAL, resolution=ServiceEntry.STATIC
    )


def test_service_entry_has_istios_bytes() -> None:
    assert entry().SerializeToString(deterministic=True) == ENTRY_BYTES
    assert ServiceEntry.FromString(ENTRY_BYTES) == entry()


def test_resource_in_any_has_istios_names() -> None:
    body = Any()
    body.Pack(entry())
    assert (body.type_url, body.value) == (TYPE_URL, ENTRY_BYTES)
    resource = Resource(metadata=Metadata(name="shop/a", create_time=Timestamp(seconds=1), version="1"), body=body)
    outer = Any()
    outer.Pack(resource)
    assert outer.type_url == "type.googleapis.com/istio.mcp.v1alpha1.Resource"
    inner = Resource()
    assert outer.Unpack(inner)
    unpacked = ServiceEntry()
    assert inner.body.Unpack(unpacked)
    assert unpacked == entry()


def test_resource_in_any_prints_as_json() -> None:
    body = Any()
    body.Pack(entry())
    printed = json_format.MessageToDict(Resource(metadata=Metadata(name="shop/a"), body=body))
    assert printed["body"]["@type"] == TYPE_URL
    assert printed["body"]["hosts"] == ["a.b"]


def test_any_refuses_another_kind() -> None:
    body = Any()
    body.Pack(entry())
    assert not body.Unpack(WorkloadEntry())


def test_error_detail_carries_a_status() -> None:
    request = RequestResources(collection="istio/networking/v1alpha3/serviceentries", response_nonce="7")
    request.error_detail.code = 3
    request.error_detail.message = "ports[0]: number 0"
    decoded = RequestResources.FromString(request.SerializeToString())
    assert (decoded.error_detail.code, decoded.error_detail.message) == (3, "ports[0]: number 0")


def test_fields_of_a_later_istio_survive() -> None:
    later = ENTRY_BYTES + b"\xc2\x3e\x03new"  # field 1000, length-delimited
    assert ServiceEntry.FromString(later).SerializeToString(deterministic=True) == later


def test_every_cut_is_refused_or_shorter() -> None:
    for length in range(len(ENTRY_BYTES)):
        try:
            shorter = ServiceEntry.FromString(ENTRY_BYTES[:length])
        except DecodeError:
            continue
        assert shorter != entry()
