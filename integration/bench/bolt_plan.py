"""One Bolt proxy task in the configuration languages of Isthmus and MOSN: one listener, one route, one endpoint, one worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RPC_PROXY = "type.googleapis.com/isthmus.network.rpc_proxy.v1.RpcProxy"
LIMIT = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
"""Wide open in every subject, so that no circuit breaker takes part."""


@dataclass(frozen=True, slots=True)
class BoltPlan:
    """Proxy Bolt from ``port`` to an origin on loopback.

    ``rules`` puts that many routes with header conditions, none of which the load meets, before the one that serves (Isthmus only).
    Without ``route_cache`` each request is routed anew.
    """

    port: int
    admin_port: int
    origin_port: int
    folder: Path
    rules: int = 0
    route_cache: bool = True


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _rule(number: int) -> dict[str, object]:
    """One of many grey-release rules: a zone, and a key of the request."""
    zone = {"name": "sofa_head_target_app", "string_match": {"exact": f"app-{number % 8}"}}
    key = {"name": "rpc_req_baggage.key", "string_match": {"exact": f"rule-{number}"}}
    return {"match": {"prefix": "/", "headers": [zone, key]}, "route": {"cluster": "origin"}}


def isthmus_bootstrap(plan: BoltPlan) -> dict[str, object]:
    """Isthmus's bootstrap."""
    routes = [*map(_rule, range(plan.rules)), {"match": {"prefix": "/"}, "route": {"cluster": "origin"}}]
    rpc = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": RPC_PROXY,
        "value": {
            "stat_prefix": "bench",
            "codec": "bolt",
            **({} if plan.route_cache else {"route_cache": False}),
            "route_config": {"name": "bench", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        },
    }
    endpoint = {"endpoint": {"address": _address(plan.origin_port)}}
    cluster = {
        "name": "origin",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [LIMIT]},
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    chain = {"filters": [{"name": "rpc", "typed_config": rpc}]}
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": _address(plan.admin_port)},
        "static_resources": {
            "listeners": [{"name": "bench", "address": _address(plan.port), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def mosn_config(plan: BoltPlan) -> dict[str, object]:
    """MOSN's configuration, its multiplexed pool with one connection, as it has unless told otherwise."""
    route = {"match": {"headers": [{"name": "service", "value": ".*"}]}, "route": {"cluster_name": "origin"}}
    proxy = {"downstream_protocol": "bolt", "upstream_protocol": "bolt", "router_config_name": "bench"}
    server = {
        "default_log_path": str(plan.folder / "mosn.default.log"),
        "default_log_level": "ERROR",
        "processor": 1,
        "routers": [
            {"router_config_name": "bench", "virtual_hosts": [{"name": "all", "domains": ["*"], "routers": [route]}]}
        ],
        "listeners": [
            {
                "name": "bench",
                "address": f"127.0.0.1:{plan.port}",
                "bind_port": True,
                "filter_chains": [{"filters": [{"type": "proxy", "config": proxy}]}],
            }
        ],
    }
    cluster = {
        "name": "origin",
        "type": "SIMPLE",
        "lb_type": "LB_RANDOM",
        # max_connections is left out: it is the size of a multiplexed pool as well
        "circuit_breakers": [{name: value for name, value in LIMIT.items() if name != "max_connections"}],
        "hosts": [{"address": f"127.0.0.1:{plan.origin_port}"}],
    }
    return {
        "disable_upgrade": True,
        "pid": str(plan.folder / "mosn.pid"),
        "servers": [server],
        "cluster_manager": {"clusters": [cluster]},
        "admin": {"address": _address(plan.admin_port)},
    }
