"""``/clusters``: every cluster with its limits and its endpoints' counters, as text and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.endpoint import Endpoint as Host
from isthmus_proxy.cluster.health import flags
from isthmus_proxy.cluster.model import ClusterConfig, Thresholds

_HEALTH_FIELDS = (
    (flags.FAILED_ACTIVE_HC, "failed_active_health_check"),
    (flags.FAILED_OUTLIER_CHECK, "failed_outlier_check"),
    (flags.DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
    (flags.PENDING_DYNAMIC_REMOVAL, "pending_dynamic_removal"),
    (flags.PENDING_ACTIVE_HC, "pending_active_hc"),
    (flags.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "excluded_via_immediate_hc_fail"),
    (flags.ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
)
_COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES = ("cx_active", "rq_active")


def endpoints(clusters: ClusterManager, is_static: Callable[[str], bool]) -> tuple[Endpoint, ...]:
    """The endpoint; ``is_static`` tells clusters of the bootstrap from those that came over xDS."""

    def respond(request: AdminRequest) -> AdminResponse:
        try:
            wanted = re.compile(request.query.get("filter", ""))
        except re.error as error:
            return text(f"Invalid regex: {error}\n", 400)
        configs = [config for config in clusters.configs() if wanted.search(config.name)]
        if request.query.get("format") == "json":
            return AdminResponse(200, _json(clusters, configs, is_static), JSON)
        return AdminResponse(200, _text(clusters, configs, is_static))

    parameters = (("filter", "Regular expression for filtering clusters by name"), ("format", "One of (text, json)"))
    return (Endpoint("/clusters", "upstream cluster status", respond, parameters=parameters),)


def _text(clusters: ClusterManager, configs: list[ClusterConfig], is_static: Callable[[str], bool]) -> Iterator[str]:
    for config in configs:
        name = config.name
        yield f"{name}::observability_name::{config.alt_stat_name or name}\n"
        for priority, limits in (("default", config.thresholds), ("high", config.high_thresholds)):
            yield f"{name}::{priority}_priority::max_connections::{limits.max_connections}\n"
            yield f"{name}::{priority}_priority::max_pending_requests::{limits.max_pending_requests}\n"
            yield f"{name}::{priority}_priority::max_requests::{limits.max_requests}\n"
            yield f"{name}::{priority}_priority::max_retries::{limits.max_retries}\n"
        yield f"{name}::added_via_api::{str(not is_static(name)).lower()}\n"
        for host in clusters.hosts(name):
            yield "".join(f"{name}::{host.name}::{key}::{value}\n" for key, value in _host_lines(host))


def _host_lines(host: Host) -> Iterator[tuple[str, object]]:
    yield "cx_active", host.cx_active
    yield "cx_connect_fail", host.cx_connect_fail
    yield "cx_total", host.cx_total
    yield "rq_active", host.rq_active
    yield "rq_error", host.rq_error
    yield "rq_success", host.rq_success
    yield "rq_timeout", host.rq_timeout
    yield "rq_total", host.rq_total
    yield "hostname", host.config.hostname
    yield "health_flags", flags.names(host.flags)
    yield "weight", host.weight
    yield from zip(("region", "zone", "sub_zone"), host.locality, strict=True)
    yield "canary", "true" if host.canary else "false"
    yield "priority", host.priority
    monitor = host.monitor
    yield "success_rate", -1 if monitor is None else f"{monitor.success_rate:g}"
    yield "local_origin_success_rate", -1 if monitor is None else f"{monitor.local_origin_success_rate:g}"


def _json(clusters: ClusterManager, configs: list[ClusterConfig], is_static: Callable[[str], bool]) -> Iterator[str]:
    yield '{\n "cluster_statuses": ['
    separator = "\n"
    for config in configs:
        yield separator + json.dumps(_status(clusters, config, is_static), indent=1)
        separator = ",\n"
    yield "\n ]\n}\n"


def _status(clusters: ClusterManager, config: ClusterConfig, is_static: Callable[[str], bool]) -> dict[str, object]:
    status: dict[str, object] = {
        "name": config.name,
        "host_statuses": [_host_status(host) for host in clusters.hosts(config.name)],
        "circuit_breakers": {
            "thresholds": [_limits(config.thresholds), {"priority": "HIGH", **_limits(config.high_thresholds)}]
        },
        "observability_name": config.alt_stat_name or config.name,
    }
    if not is_static(config.name):
        status["added_via_api"] = True
    if config.eds_service_name:
        status["eds_service_name"] = config.eds_service_name
    return status


def _limits(limits: Thresholds) -> dict[str, object]:
    return {
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_requests,
        "max_retries": limits.max_retries,
    }


def _host_status(host: Host) -> dict[str, object]:
    address, port = host.address
    stats: list[dict[str, object]] = [_value(name, getattr(host, name)) for name in _COUNTERS]
    stats += [{"type": "GAUGE", **_value(name, getattr(host, name))} for name in _GAUGES]
    region, zone, sub_zone = host.locality
    places = {"region": region, "zone": zone, "sub_zone": sub_zone}
    return {
        "address": {"socket_address": {"address": address, "port_value": port}},
        "stats": stats,
        "health_status": _health_status(host),
        "weight": host.weight,
        "locality": {key: value for key, value in places.items() if value},
    }


def _health_status(host: Host) -> dict[str, object]:
    status: dict[str, object] = {name: True for flag, name in _HEALTH_FIELDS if host.flags & flag}
    status["eds_health_status"] = "HEALTHY" if host.health == "UNKNOWN" else host.health
    return status


def _value(name: str, value: int) -> dict[str, object]:
    return {"value": str(value), "name": name} if value else {"name": name}
