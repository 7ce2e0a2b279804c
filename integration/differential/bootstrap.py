"""Makes one Envoy bootstrap of a group's short form. Both sides read the same file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from differential.case import Group

Json = dict[str, Any]

LOG_FILE = "access.log"
"""In the directory in which the proxy runs, which each side has to itself."""
SOURCE = "SOURCE"
"""The log field by which a line is given to its case; all others are compared."""
LOG_FIELDS = {
    SOURCE: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "RESPONSE_CODE": "%RESPONSE_CODE%",
    "RESPONSE_FLAGS": "%RESPONSE_FLAGS%",
    "RESPONSE_CODE_DETAILS": "%RESPONSE_CODE_DETAILS%",
    "ROUTE_NAME": "%ROUTE_NAME%",
    "UPSTREAM_CLUSTER": "%UPSTREAM_CLUSTER%",
    "VIRTUAL_CLUSTER_NAME": "%VIRTUAL_CLUSTER_NAME%",
    "UPSTREAM_HOST": "%UPSTREAM_HOST%",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "CONNECTION_TERMINATION_DETAILS": "%CONNECTION_TERMINATION_DETAILS%",
    "BYTES_RECEIVED": "%BYTES_RECEIVED%",
    "BYTES_SENT": "%BYTES_SENT%",
    "PROTOCOL": "%PROTOCOL%",
    "METHOD": "%REQ(:METHOD)%",
    "PATH": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "AUTHORITY": "%REQ(:AUTHORITY)%",
    "FORWARDED_FOR": "%REQ(X-FORWARDED-FOR)%",
    "CONTENT_TYPE": "%RESP(CONTENT-TYPE)%",
    "REMOTE": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
DEFAULT_ROUTES = [{"name": "all", "match": {"prefix": "/"}, "route": {"cluster": "a"}}]


def upstream_names(group: Group) -> set[str]:
    """Every upstream that an endpoint or the group names."""
    names = set(group.spec.get("upstreams", ()))
    for spec in _clusters(group).values():
        names |= {each if isinstance(each, str) else each["to"] for each in spec.get("endpoints", ())}
    return names


def _clusters(group: Group) -> Mapping[str, Mapping[str, Any]]:
    return group.spec.get("clusters") or {"a": {"endpoints": ["a"]}}


def listener_names(group: Group) -> list[str]:
    """The listeners that cases may name."""
    return list(group.spec.get("listeners") or ["main"])


def build(group: Group, upstreams: Mapping[str, int], listeners: Mapping[str, int], admin: int) -> Json:
    """The bootstrap, with the given ports."""
    specs = group.spec.get("listeners") or {"main": {}}
    static = {
        "listeners": [_listener(group, name, spec or {}, listeners[name]) for name, spec in specs.items()],
        "clusters": [_cluster(name, spec, upstreams) for name, spec in _clusters(group).items()],
    }
    bootstrap = {"admin": {"address": _address(admin)}, "static_resources": static, **group.spec.get("bootstrap", {})}
    if "runtime" in group.spec:
        bootstrap["layered_runtime"] = {"layers": [{"name": "static", "static_layer": group.spec["runtime"]}]}
    resolved: Json = _resolve(bootstrap, lambda name: upstreams[name])
    return resolved


def _resolve(value: Any, port: Callable[[str], int]) -> Any:
    """``{port_of: NAME}`` anywhere becomes the port of that upstream."""
    if isinstance(value, dict):
        if set(value) == {"port_of"}:
            return port(value["port_of"])
        return {key: _resolve(each, port) for key, each in value.items()}
    return [_resolve(each, port) for each in value] if isinstance(value, list) else value


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def access_log(group: Group) -> list[Json]:
    """One JSON object a line with all fields, and those of the group."""
    fields = {**LOG_FIELDS, **group.spec.get("log", {})}
    config = {"@type": _FILE_LOG, "path": LOG_FILE, "log_format": {"json_format": fields}}
    return [{"name": "file", "typed_config": config}]


def _listener(group: Group, name: str, spec: Mapping[str, Any], port: int) -> Json:
    extra = spec.get("listener", {})
    if "tcp_proxy" in spec:
        config = {"@type": _TCP_PROXY, "stat_prefix": name, "access_log": access_log(group), **spec["tcp_proxy"]}
        chains = [{"filters": [{"name": "tcp", "typed_config": config}]}]
    elif "filter_chains" in spec:
        chains = [_chain(group, name, each) for each in spec["filter_chains"]]
    else:
        chains = [{"filters": [_manager(group, name, spec)]}]
    return {"name": name, "address": _address(port), "filter_chains": chains, **extra}


def _chain(group: Group, name: str, spec: Mapping[str, Any]) -> Json:
    """A filter chain whose filters are given, or made of ``routes`` and ``manager`` like those of a listener."""
    plain = {key: value for key, value in spec.items() if key in ("filter_chain_match", "filters", "name")}
    return {"filters": [_manager(group, name, spec)], **plain}


def _manager(group: Group, name: str, spec: Mapping[str, Any]) -> Json:
    config = {
        "@type": _HCM,
        "stat_prefix": name,
        # Envoy waits that long before it closes a connection that it has refused.
        "delayed_close_timeout": "0.1s",
        "route_config": _route_config(group, spec),
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "access_log": access_log(group),
        **group.spec.get("manager", {}),
        **spec.get("manager", {}),
    }
    return {"name": "http", "typed_config": config}


def _route_config(group: Group, spec: Mapping[str, Any]) -> Json:
    own = {**group.spec, **spec}
    routes = own.get("routes", DEFAULT_ROUTES)
    hosts = own.get("virtual_hosts") or [{"name": "every", "domains": ["*"], "routes": routes}]
    return {"name": "routes", "virtual_hosts": hosts, **own.get("route_config", {})}


def _cluster(name: str, spec: Mapping[str, Any], upstreams: Mapping[str, int]) -> Json:
    rest = {key: value for key, value in spec.items() if key != "endpoints"}
    cluster: Json = {"name": name, "type": "STATIC", "connect_timeout": "5s", **rest}
    if "endpoints" in spec:
        cluster["load_assignment"] = {"cluster_name": name, **_assignment(spec["endpoints"], upstreams)}
        cluster["load_assignment"] |= spec.get("load_assignment", {})
    return cluster


def _assignment(endpoints: list[Any], upstreams: Mapping[str, int]) -> Json:
    """Endpoints are names, or mappings of ``to``, ``priority``, ``locality``, ``locality_weight`` and fields of LbEndpoint."""
    groups: dict[tuple[int, str], Json] = {}
    for each in endpoints:
        spec: Json = {"to": each} if isinstance(each, str) else dict(each)
        key = (spec.pop("priority", 0), spec.pop("locality", ""))
        weight = spec.pop("locality_weight", None)
        group = groups.setdefault(key, {"priority": key[0], "lb_endpoints": []})
        if key[1]:
            group["locality"] = {"region": "r", "zone": key[1]}
        if weight is not None:
            group["load_balancing_weight"] = weight
        endpoint = {"address": _address(upstreams[spec.pop("to")]), **spec.pop("endpoint", {})}
        group["lb_endpoints"].append({"endpoint": endpoint, **spec})
    return {"endpoints": list(groups.values())}
