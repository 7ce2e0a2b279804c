"""Names of generated resources, as Istio forms them."""

from __future__ import annotations

from isthmus_controlplane.model.validate.text import is_ip_address

BLACK_HOLE_CLUSTER = "BlackHoleCluster"
# No cluster has this name: a share of requests for it is answered as the route says.
UNRESOLVED_CLUSTER = "UnresolvedBackend"
PASSTHROUGH_CLUSTER = "PassthroughCluster"
HTTP_PROXY = "http_proxy"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_OUTBOUND_PORT = 15001
VIRTUAL_INBOUND = "virtualInbound"
VIRTUAL_INBOUND_PORT = 15006
INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster"


def cluster_name(port: int, subset: str, host: str) -> str:
    """Name the cluster of one port and subset; the same name is its EDS resource."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_name(port: int) -> str:
    """Name the cluster of one port of the application, and the route configuration that leads there."""
    return f"inbound|{port}||"


def listener_name(address: str, port: int) -> str:
    """Name an outbound listener."""
    return f"{address}_{port}"


def virtual_host_name(host: str, port: int) -> str:
    """Name the virtual host of one service port."""
    return f"{host}:{port}"


def with_port(host: str, port: int) -> str:
    """Write ``host:port`` as in a Host header (IPv6 literals in brackets)."""
    return f"[{host}]:{port}" if ":" in host and is_ip_address(host) else f"{host}:{port}"
