"""Envoy bootstraps of the shop's sidecars; Isthmus and Envoy take the same. Pure."""

from typing import Any, Literal

ADMIN = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# Envoy's own pause is drawn from up to half a minute, which is long to watch.
_RECONNECT = {"retry_back_off": {"base_interval": "0.2s", "max_interval": "2s"}}

ApiType = Literal["GRPC", "DELTA_GRPC"]


def address(host_port: str) -> dict[str, Any]:
    """An Envoy address from ``host:port``."""
    host, _, port = host_port.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def static_cluster(name: str, host_port: str) -> dict[str, Any]:
    """A cluster of one known endpoint."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(host_port)}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def service_sidecar(name: str, listen: str, application: str) -> dict[str, Any]:
    """The sidecar in front of one instance: everything that arrives at ``listen`` goes to the application."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "application"}}
    manager = {
        "@type": _HCM,
        "stat_prefix": "inbound",
        "route_config": {
            "name": "inbound",
            "virtual_hosts": [{"name": "inbound", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "inbound", "address": address(listen), "filter_chains": [chain]}
    return {
        "node": {"id": node_id(name), "cluster": name},
        "admin": ADMIN,
        "static_resources": {"listeners": [listener], "clusters": [static_cluster("application", application)]},
    }


def client_sidecar(
    name: str,
    http_proxy_port: int,
    control_plane: str,
    api_type: ApiType = "DELTA_GRPC",
    *,
    reconnect_soon: bool = False,
) -> dict[str, Any]:
    """The sidecar of a client: everything comes from the control plane, its listener on ``http_proxy_port`` too.

    ``reconnect_soon`` bounds the pause between attempts to reach the control plane.
    """
    xds = static_cluster("xds", control_plane)
    http2 = {
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "5s", "timeout": "5s"}}
        }
    }
    xds["typed_extension_protocol_options"] = {
        _HTTP_OPTIONS: {"@type": f"type.googleapis.com/{_HTTP_OPTIONS}", **http2}
    }
    ads = {
        "api_type": api_type,
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {"envoy_grpc": {"cluster_name": "xds"} | ({"retry_policy": _RECONNECT} if reconnect_soon else {})}
        ],
    }
    over_ads = {"ads": {}, "resource_api_version": "V3"}
    metadata = {
        "INTERCEPTION_MODE": "NONE",
        "HTTP_PROXY_PORT": str(http_proxy_port),
        "BIND": "127.0.0.1",
        "NAMESPACE": "default",
    }
    return {
        "node": {"id": node_id(name), "cluster": name, "metadata": metadata},
        "admin": ADMIN,
        "dynamic_resources": {"ads_config": ads, "lds_config": over_ads, "cds_config": over_ads},
        "static_resources": {"clusters": [xds]},
    }


def node_id(name: str) -> str:
    """Istio's form of a sidecar's node id."""
    return f"sidecar~127.0.0.1~{name}.default~default.svc.cluster.local"
