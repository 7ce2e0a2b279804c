"""The bootstrap of the soak: every kind of end that a request can come to has a route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_PREVIOUS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
HEADERS_TIMEOUT_S = 1
CLUSTERS = ("moody", "origin", "silent", "nobody", "tunnels")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the proxy listens and where upstreams do; nobody listens on ``nobody``."""

    http: int
    tcp: int
    moody: tuple[int, ...]
    origin: int
    silent: int
    tunnels: int
    nobody: int


def bootstrap(ports: Ports, log: str) -> Json:
    """The whole file."""
    tunnel = {"@type": _TCP, "stat_prefix": "tcp", "cluster": "tunnels"}
    return {
        "admin": {"address": _address(0)},
        "static_resources": {
            "listeners": [_listener("http", ports.http, _manager(log)), _listener("tcp", ports.tcp, tunnel)],
            "clusters": [
                _cluster("moody", ports.moody, outlier_detection={"consecutive_5xx": 20, "base_ejection_time": "0.5s"}),
                _cluster("origin", (ports.origin,)),
                _cluster("silent", (ports.silent,)),
                _cluster("nobody", (ports.nobody,)),
                _cluster("tunnels", (ports.tunnels,)),
            ],
        },
    }


def grpc_bootstrap(port: int, origin: int) -> Json:
    """HTTP/2 on both sides, for streams that are held as long as they like."""
    manager = {
        "@type": _HCM,
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "stream_idle_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}}],
                }
            ]
        },
    }
    limits = {"thresholds": [{"max_requests": 100_000, "max_pending_requests": 100_000}]}
    cluster = _cluster("origin", (origin,), http2_protocol_options={}) | {"circuit_breakers": limits}
    listeners = [_listener("http2", port, manager)]
    resources = {"listeners": listeners, "clusters": [cluster]}
    return {"admin": {"address": _address(0)}, "static_resources": resources}


def _manager(log: str) -> Json:
    retries = {
        "retry_on": "5xx,reset,connect-failure",
        "num_retries": 4,
        "per_try_timeout": "0.5s",
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_host_predicate": [{"name": "previous", "typed_config": {"@type": _PREVIOUS}}],
        "host_selection_retry_max_attempts": 10,
    }
    routes: list[Json] = [
        {"match": {"prefix": "/good"}, "route": {"cluster": "moody", "retry_policy": retries}},
        {"match": {"prefix": "/delay"}, "route": {"cluster": "origin"}},
        {"match": {"prefix": "/bytes"}, "route": {"cluster": "origin"}},
        {"match": {"prefix": "/status"}, "route": {"cluster": "origin"}},
        {"match": {"prefix": "/silent"}, "route": {"cluster": "silent", "timeout": "0.3s"}},
        {"match": {"prefix": "/nobody"}, "route": {"cluster": "nobody"}},
        {"match": {"prefix": "/upgrade"}, "route": {"cluster": "tunnels"}},
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
    ]
    line = {"text_format_source": {"inline_string": "%RESPONSE_CODE% %RESPONSE_FLAGS%\n"}}
    return {
        "@type": _HCM,
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "access_log": [{"name": "file", "typed_config": {"@type": _LOG, "path": log, "log_format": line}}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "request_headers_timeout": f"{HEADERS_TIMEOUT_S}s",
    }


def _listener(name: str, port: int, config: Json) -> Json:
    return {
        "name": name,
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": name, "typed_config": config}]}],
    }


def _cluster(name: str, ports: tuple[int, ...], **fields: Any) -> Json:
    hosts = [{"endpoint": {"address": _address(port)}} for port in ports]
    limits = {"max_retries": 1000, "max_connections": 4096, "max_pending_requests": 4096}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
        **fields,
    }


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
