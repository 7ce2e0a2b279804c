"""Compiles envoy.extensions.filters.http.fault.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_headers, compile_percent
from isthmus_proxy.config.values import number, positive_seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.fault import FaultAbort, FaultConfig, FaultDelay
from isthmus_proxy.route.matcher import fields_tests

_KEYS = "fault.http."


def compile_fault(proto: Any, path: str) -> FaultConfig:
    """Compile an HTTPFault, of the filter itself or of a route. Raises ConfigError."""
    return FaultConfig(
        delay=_delay(proto, path) if proto.HasField("delay") else None,
        abort=_abort(proto, path) if proto.HasField("abort") else None,
        upstream_cluster=proto.upstream_cluster,
        headers=fields_tests(compile_headers(proto, "headers", path)),
        downstream_nodes=frozenset(node.encode() for node in proto.downstream_nodes),
        max_active=number(proto, "max_active_faults", 0, path) if proto.HasField("max_active_faults") else None,
        max_active_key=proto.max_active_faults_runtime or _KEYS + "max_active_faults",
        cluster_stats=not proto.disable_downstream_cluster_stats,
    )


def _delay(proto: Any, path: str) -> FaultDelay:
    path, delay = join(path, "delay"), proto.delay
    chosen = delay.WhichOneof("fault_delay_secifier")
    if chosen is None:
        raise ConfigError(path, "", "needs one of fixed_delay and header_delay")
    seconds = positive_seconds(delay, "fixed_delay", 0.0, path) if chosen == "fixed_delay" else None
    key = proto.delay_percent_runtime or _KEYS + "delay.fixed_delay_percent"
    return FaultDelay(
        seconds,
        compile_percent(delay.percentage, key),
        proto.delay_duration_runtime or _KEYS + "delay.fixed_duration_ms",
    )


def _abort(proto: Any, path: str) -> FaultAbort:
    path, abort = join(path, "abort"), proto.abort
    chosen = abort.WhichOneof("error_type")
    if chosen is None:
        raise ConfigError(path, "", "needs one of http_status, grpc_status and header_abort")
    if chosen == "http_status" and not 200 <= abort.http_status < 600:
        raise ConfigError(join(path, chosen), shown(abort.http_status), "must be at least 200 and less than 600")
    key = proto.abort_percent_runtime or _KEYS + "abort.abort_percent"
    return FaultAbort(
        compile_percent(abort.percentage, key),
        http_status=abort.http_status if chosen == "http_status" else None,
        grpc_status=abort.grpc_status if chosen == "grpc_status" else None,
        by_header=chosen == "header_abort",
        http_key=proto.abort_http_status_runtime or _KEYS + "abort.http_status",
        grpc_key=proto.abort_grpc_status_runtime or _KEYS + "abort.grpc_status",
    )
