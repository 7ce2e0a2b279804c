"""HTTPRoute and GRPCRoute of the Gateway API, as the VirtualServices that do the same, and its Gateways as those of Istio."""

from isthmus_controlplane.model.gateway_api.attach import GATEWAY_API_KINDS, GatewayRoutes, RouteStatus, attach_routes
from isthmus_controlplane.model.gateway_api.gateways import gateway_status, listeners_of

__all__ = ["GATEWAY_API_KINDS", "GatewayRoutes", "RouteStatus", "attach_routes", "gateway_status", "listeners_of"]
