"""Responses put together by hand are byte for byte what protobuf writes; requests may hold anything."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import ControlPlane
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.snapshot.resource import Resource
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import DeltaRequest, Response, SotwRequest, Variant
from isthmus_controlplane.xds.testing import NODE
from isthmus_controlplane.xds.wire import decode, encode

TEXT = st.text(max_size=200)
# A body is never empty: an empty one stands for a resource that does not exist, and is left out.
URLS = st.text(min_size=1, max_size=200)
BODIES = st.builds(lambda url, value: Any(type_url=url, value=value), URLS, st.binary(max_size=300))
ALIASES = st.lists(TEXT, max_size=3).map(tuple)
RESOURCES = st.builds(
    lambda name, version, body, aliases: Resource(name, version, body.SerializeToString(), aliases=aliases),
    TEXT, TEXT, BODIES, ALIASES,
)  # fmt: skip
RESPONSES = st.builds(
    Response, TEXT, TEXT, TEXT, st.lists(RESOURCES, max_size=5).map(tuple), st.lists(TEXT, max_size=5).map(tuple)
)


@given(RESPONSES, TEXT)
def test_sotw_responses_are_protobufs(response: Response, identifier: str) -> None:
    message = discovery_pb2.DiscoveryResponse(
        version_info=response.version,
        resources=[Any.FromString(resource.body) for resource in response.resources],
        type_url=response.type_url,
        nonce=response.nonce,
        control_plane=ControlPlane(identifier=identifier),
    )
    assert encode(Variant.SOTW, response, identifier) == message.SerializeToString(deterministic=True)


@given(RESPONSES, TEXT)
def test_delta_responses_are_protobufs(response: Response, identifier: str) -> None:
    message = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=response.version,
        resources=[
            discovery_pb2.Resource(name=r.name, version=r.version, resource=Any.FromString(r.body), aliases=r.aliases)
            for r in response.resources
        ],
        removed_resources=response.removed,
        type_url=response.type_url,
        nonce=response.nonce,
        control_plane=ControlPlane(identifier=identifier),
    )
    assert encode(Variant.DELTA, response, identifier) == message.SerializeToString(deterministic=True)


def sotw_bytes() -> bytes:
    message = discovery_pb2.DiscoveryRequest(
        version_info="v", node=NODE, resource_names=["a", "b"], type_url="t", response_nonce="n"
    )
    message.error_detail.message = "bad"
    raw: bytes = message.SerializeToString()
    return raw


def delta_bytes() -> bytes:
    message = discovery_pb2.DeltaDiscoveryRequest(
        node=NODE,
        type_url="t",
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
        response_nonce="n",
    )
    message.error_detail.code = 13
    raw: bytes = message.SerializeToString()
    return raw


def test_sotw_requests_are_read() -> None:
    request, node = decode(Variant.SOTW, sotw_bytes())
    assert request == SotwRequest("t", ("a", "b"), "n", "bad")
    assert node == NODE


def test_delta_requests_are_read() -> None:
    request, node = decode(Variant.DELTA, delta_bytes())
    assert request == DeltaRequest("t", ("a",), ("b",), "n", "status code 13", {"c": "1"})
    assert node == NODE


def test_request_without_node_has_none() -> None:
    assert decode(Variant.SOTW, b"") == (SotwRequest(""), None)


@pytest.mark.parametrize(("variant", "raw"), [(Variant.SOTW, sotw_bytes()), (Variant.DELTA, delta_bytes())])
def test_requests_cut_short_or_with_trailing_bytes_end_the_stream_politely(variant: Variant, raw: bytes) -> None:
    for damaged in (*(raw[:end] for end in range(len(raw))), raw + b"\xff", raw + b"\x00"):
        try:
            decode(variant, damaged)
        except StreamError as error:
            assert error.code == "INVALID_ARGUMENT"  # noqa: PT017 - some cuts leave a whole message


@given(st.sampled_from(Variant), st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused(variant: Variant, raw: bytes) -> None:
    try:
        decode(variant, raw)
    except StreamError as error:
        assert error.code == "INVALID_ARGUMENT"  # noqa: PT017 - some bytes are a request


def test_error_text_is_bounded() -> None:
    message = discovery_pb2.DiscoveryRequest(type_url="t", response_nonce="n")
    message.error_detail.message = "x" * 1_000_000
    request, _ = decode(Variant.SOTW, message.SerializeToString())
    assert request.error is not None
    assert len(request.error) == 4096
