"""Between Envoy's discovery messages and the values of the sessions."""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

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


def _rejection(message: Any) -> Rejection | None:
    if not message.HasField("error_detail"):
        return None
    return Rejection(message.error_detail.code, message.error_detail.message[:MAX_MESSAGE])
