"""Between Envoy's discovery messages and the values of the sessions."""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import Resources
from isthmus_mcp_bridge.mcp.classic import ClassicRequest
from isthmus_mcp_bridge.mcp.session import MAX_MESSAGE, DeltaRequest, Rejection, Response, SotwRequest


def sotw_request(message: Any) -> SotwRequest:
    """A DiscoveryRequest as a value. The version that it repeats says no more than its nonce."""
    return SotwRequest(message.type_url, message.response_nonce, tuple(message.resource_names), _rejection(message))


def delta_request(message: Any) -> DeltaRequest:
    """A DeltaDiscoveryRequest as a value."""
    return DeltaRequest(
        message.type_url,
        message.response_nonce,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        _rejection(message),
    )


def sotw_response(response: Response) -> bytes:
    """A DiscoveryResponse: concatenated messages merge, so the shared bytes of the resources are only appended."""
    head = DiscoveryResponse(version_info=response.version, type_url=response.type_url, nonce=response.nonce)
    return bytes(head.SerializeToString()) + response.body


def delta_response(response: Response) -> bytes:
    """A DeltaDiscoveryResponse, made as ``sotw_response`` is."""
    head = DeltaDiscoveryResponse(
        system_version_info=response.version, type_url=response.type_url, nonce=response.nonce
    )
    return bytes(head.SerializeToString()) + response.body


def classic_request(message: Any) -> ClassicRequest:
    """A RequestResources as a value."""
    held = dict(message.initial_resource_versions)
    return ClassicRequest(message.collection, message.response_nonce, held, message.incremental, _rejection(message))


def classic_response(response: Response, *, incremental: bool) -> bytes:
    """A Resources, made as ``sotw_response`` is."""
    head = Resources(
        system_version_info=response.version,
        collection=response.type_url,
        nonce=response.nonce,
        incremental=incremental,
    )
    return head.SerializeToString() + response.body


def _rejection(message: Any) -> Rejection | None:
    if not message.HasField("error_detail"):
        return None
    return Rejection(message.error_detail.code, message.error_detail.message[:MAX_MESSAGE])
