"""HTTPRoute and GRPCRoute of the Gateway API, as the VirtualServices that do the same."""

from isthmus_controlplane.model.gateway_api.attach import GATEWAY_API_KINDS, GatewayRoutes, RouteStatus, attach_routes

__all__ = ["GATEWAY_API_KINDS", "GatewayRoutes", "RouteStatus", "attach_routes"]
