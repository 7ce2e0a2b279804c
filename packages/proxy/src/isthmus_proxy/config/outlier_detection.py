"""Compiles config.cluster.v3.OutlierDetection."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.cluster.outlier.model import DEFAULT_ENFORCING, Kind, OutlierDetectionConfig
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import flag, number, positive_seconds, seconds
from isthmus_proxy.errors import ConfigError

_ENFORCING = {
    Kind.CONSECUTIVE_5XX: "enforcing_consecutive_5xx",
    Kind.CONSECUTIVE_GATEWAY_FAILURE: "enforcing_consecutive_gateway_failure",
    Kind.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: "enforcing_consecutive_local_origin_failure",
    Kind.SUCCESS_RATE: "enforcing_success_rate",
    Kind.SUCCESS_RATE_LOCAL_ORIGIN: "enforcing_local_origin_success_rate",
    Kind.FAILURE_PERCENTAGE: "enforcing_failure_percentage",
    Kind.FAILURE_PERCENTAGE_LOCAL_ORIGIN: "enforcing_failure_percentage_local_origin",
}
_COUNTS = (
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
)


def compile_outlier_detection(proto: Any, path: str) -> OutlierDetectionConfig:
    """Compile a checked message. Raises ConfigError."""
    defaults = OutlierDetectionConfig()
    base = positive_seconds(proto, "base_ejection_time", defaults.base_ejection_time, path)
    longest = positive_seconds(proto, "max_ejection_time", max(defaults.max_ejection_time, base), path)
    if longest < base:
        reason = f"must not be less than base_ejection_time, {base:g}s"
        raise ConfigError(join(path, "max_ejection_time"), f"{longest:g}s", reason)
    return OutlierDetectionConfig(
        interval=positive_seconds(proto, "interval", defaults.interval, path),
        base_ejection_time=base,
        max_ejection_time=longest,
        max_ejection_time_jitter=seconds(proto, "max_ejection_time_jitter", 0.0, path),
        max_ejection_percent=_percent(proto, "max_ejection_percent", defaults.max_ejection_percent, path),
        always_eject_one_host=flag(proto, "always_eject_one_host", default=False),
        split_external_local_origin_errors=proto.split_external_local_origin_errors,
        failure_percentage_threshold=_percent(
            proto, "failure_percentage_threshold", defaults.failure_percentage_threshold, path
        ),
        successful_active_health_check_uneject_host=flag(
            proto, "successful_active_health_check_uneject_host", default=True
        ),
        enforcing={kind: _percent(proto, name, DEFAULT_ENFORCING[kind], path) for kind, name in _ENFORCING.items()},
        **{name: number(proto, name, getattr(defaults, name), path) for name in _COUNTS},
    )


def _percent(proto: Any, name: str, default: int, path: str) -> int:
    value = number(proto, name, default, path)
    if value > 100:
        raise ConfigError(join(path, name), str(value), "must be at most 100")
    return value
