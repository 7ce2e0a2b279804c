"""The kinds of objects that users write: their messages and their tables of supported fields."""

from __future__ import annotations

import dataclasses

from google.protobuf.message import Message

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_api.gateway.v1 import gateway_pb2
from isthmus_api.gateway.v1.route_pb2 import GRPCRoute, HTTPRoute
from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from isthmus_api.istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from isthmus_api.istio.networking.v1alpha3.gateway_pb2 import Gateway
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_api.istio.networking.v1alpha3.sidecar_pb2 import Sidecar
from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from isthmus_api.istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from isthmus_api.istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from isthmus_api.istio.security.v1beta1.peer_authentication_pb2 import PeerAuthentication
from isthmus_api.istio.security.v1beta1.request_authentication_pb2 import RequestAuthentication
from isthmus_api.istio.telemetry.v1alpha1.telemetry_pb2 import Telemetry
from isthmus_controlplane.model import fields, gateway_api_fields, security_fields
from isthmus_controlplane.model.gateway import GATEWAY_API_GATEWAY

NETWORKING = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
SECURITY = ("security.istio.io/v1", "security.istio.io/v1beta1")
GATEWAY_API = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")
TELEMETRY = ("telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1")
DUAL_MODE = "DualMode"


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its name, its message, which of its fields are supported, and its ``apiVersion``, the one that is written first.

    The name is that in YAML, with its group behind it where another kind has that (as Kubernetes writes it).
    """

    name: str
    message: type[Message]
    supported: fields.FieldTable
    api_versions: tuple[str, ...] = NETWORKING

    @property
    def in_yaml(self) -> str:
        """What stands in ``kind`` of a document."""
        return self.name.partition(".")[0]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("ServiceEntry", ServiceEntry, fields.SERVICE_ENTRY),
        Kind("WorkloadEntry", WorkloadEntry, fields.WORKLOAD_ENTRY),
        Kind("VirtualService", VirtualService, fields.VIRTUAL_SERVICE),
        Kind("DestinationRule", DestinationRule, fields.DESTINATION_RULE),
        Kind("Gateway", Gateway, fields.GATEWAY),
        Kind("EnvoyFilter", EnvoyFilter, fields.ENVOY_FILTER),
        Kind("Sidecar", Sidecar, fields.SIDECAR),
        Kind("AuthorizationPolicy", AuthorizationPolicy, security_fields.AUTHORIZATION_POLICY, SECURITY),
        Kind("RequestAuthentication", RequestAuthentication, security_fields.REQUEST_AUTHENTICATION, SECURITY),
        Kind("PeerAuthentication", PeerAuthentication, security_fields.PEER_AUTHENTICATION, SECURITY),
        Kind("Telemetry", Telemetry, fields.TELEMETRY, TELEMETRY),
        Kind("HTTPRoute", HTTPRoute, gateway_api_fields.HTTP_ROUTE, GATEWAY_API),
        Kind("GRPCRoute", GRPCRoute, gateway_api_fields.GRPC_ROUTE, GATEWAY_API[:1]),
        Kind(GATEWAY_API_GATEWAY, gateway_pb2.Gateway, gateway_api_fields.GATEWAY, GATEWAY_API),
        Kind("GatewayClass", gateway_pb2.GatewayClass, gateway_api_fields.GATEWAY_CLASS, GATEWAY_API),
        Kind("ReferenceGrant", gateway_pb2.ReferenceGrant, gateway_api_fields.REFERENCE_GRANT, GATEWAY_API[1:]),
        Kind("WorkloadGroup", WorkloadGroup, fields.WORKLOAD_GROUP),
        Kind(DUAL_MODE, DualMode, fields.DUAL_MODE, ("isthmus.io/v1alpha1",)),
    )
}


def find_kind(text: str) -> Kind | None:
    """Find a kind by its name as people type it: any case, singular or plural."""
    wanted = text.lower()
    for kind in KINDS.values():
        name, dot, group = kind.name.lower().partition(".")
        if wanted in {f"{each}{dot}{group}" for each in (name, _plural(name))}:
            return kind
    return None


def _plural(name: str) -> str:
    if name.endswith("y") and not name.endswith("ay"):
        return name[:-1] + "ies"
    return name + ("es" if name.endswith("s") else "s")
