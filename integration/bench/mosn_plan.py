"""The HTTP/1.1 task of :mod:`bench.http_plan` in MOSN's configuration language."""

from __future__ import annotations

from bench.http_plan import HttpPlan


def mosn_config(plan: HttpPlan) -> dict[str, object]:
    """One listener, one route, one worker; ``idle`` clusters on top. Limits as wide open as Envoy's in the same plan."""
    route = {"match": {"prefix": "/"}, "route": {"cluster_name": "origin", "timeout": "15s"}}
    host = {"name": "all", "domains": ["*"], "routers": [route]}
    idle = [_cluster(f"idle-{number}", plan.origin_port) for number in range(plan.clusters)]
    server = {
        "default_log_path": str(plan.folder / "mosn.default.log"),
        "default_log_level": "ERROR",
        "processor": 1,
        "routers": [{"router_config_name": "bench", "virtual_hosts": [host]}],
        "listeners": [_listener(plan)],
    }
    return {
        "disable_upgrade": True,
        "pid": str(plan.folder / "mosn.pid"),
        "servers": [server],
        "cluster_manager": {"clusters": [_cluster("origin", plan.origin_port), *idle]},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": plan.admin_port}}},
    }


def _listener(plan: HttpPlan) -> dict[str, object]:
    proxy = {"downstream_protocol": "Http1", "upstream_protocol": "Http1", "router_config_name": "bench"}
    listener: dict[str, object] = {
        "name": "bench",
        "address": f"127.0.0.1:{plan.port}",
        "bind_port": True,
        "filter_chains": [{"filters": [{"type": "proxy", "config": proxy}]}],
    }
    if plan.observed:
        listener["access_logs"] = [{"log_path": str(plan.access_log)}]
    return listener


def _cluster(name: str, port: int) -> dict[str, object]:
    limit = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        "name": name,
        "type": "SIMPLE",
        "lb_type": "LB_RANDOM",
        "connect_timeout": "5s",
        "circuit_breakers": [limit],
        "hosts": [{"address": f"127.0.0.1:{port}"}],
    }
