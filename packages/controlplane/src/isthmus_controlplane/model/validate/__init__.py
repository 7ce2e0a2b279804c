"""The rules that one object must keep on its own, whatever else is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.gateway import GATEWAY_API_GATEWAY
from isthmus_controlplane.model.validate.authorization_policy import validate_authorization_policy
from isthmus_controlplane.model.validate.destination_rule import validate_destination_rule
from isthmus_controlplane.model.validate.dual_mode import validate_dual_mode
from isthmus_controlplane.model.validate.envoy_filter import validate_envoy_filter
from isthmus_controlplane.model.validate.gateway import validate_gateway
from isthmus_controlplane.model.validate.gateway_api import validate_grpc_route, validate_http_route
from isthmus_controlplane.model.validate.kubernetes_gateway import (
    validate_gateway_class,
    validate_kubernetes_gateway,
    validate_reference_grant,
)
from isthmus_controlplane.model.validate.security import (
    validate_peer_authentication,
    validate_request_authentication,
)
from isthmus_controlplane.model.validate.service_entry import (
    validate_service_entry,
    validate_workload_entry,
    validate_workload_group,
)
from isthmus_controlplane.model.validate.sidecar import validate_sidecar
from isthmus_controlplane.model.validate.telemetry import validate_telemetry
from isthmus_controlplane.model.validate.virtual_service import validate_virtual_service

_RULES: dict[str, Callable[[Any], Iterator[FieldProblem]]] = {
    "ServiceEntry": validate_service_entry,
    "WorkloadEntry": validate_workload_entry,
    "WorkloadGroup": validate_workload_group,
    "Telemetry": validate_telemetry,
    "VirtualService": validate_virtual_service,
    "HTTPRoute": validate_http_route,
    "GRPCRoute": validate_grpc_route,
    "DestinationRule": validate_destination_rule,
    "DualMode": validate_dual_mode,
    "EnvoyFilter": validate_envoy_filter,
    "Gateway": validate_gateway,
    GATEWAY_API_GATEWAY: validate_kubernetes_gateway,
    "GatewayClass": validate_gateway_class,
    "ReferenceGrant": validate_reference_grant,
    "Sidecar": validate_sidecar,
    "AuthorizationPolicy": validate_authorization_policy,
    "RequestAuthentication": validate_request_authentication,
    "PeerAuthentication": validate_peer_authentication,
}


def validate(kind: str, spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with ``spec``, a message of the given kind."""
    return _RULES[kind](spec)
