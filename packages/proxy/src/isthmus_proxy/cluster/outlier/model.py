"""Compiled config.cluster.v3.OutlierDetection. Immutable; built by ``config.outlier_detection``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """Why an endpoint is ejected (data.cluster.v3.OutlierEjectionType); the value is its name in Envoy's stats."""

    CONSECUTIVE_5XX = "consecutive_5xx"
    CONSECUTIVE_GATEWAY_FAILURE = "consecutive_gateway_failure"
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE = "consecutive_local_origin_failure"
    SUCCESS_RATE = "success_rate"
    SUCCESS_RATE_LOCAL_ORIGIN = "local_origin_success_rate"
    FAILURE_PERCENTAGE = "failure_percentage"
    FAILURE_PERCENTAGE_LOCAL_ORIGIN = "local_origin_failure_percentage"


DEFAULT_ENFORCING = {
    Kind.CONSECUTIVE_5XX: 100,
    Kind.CONSECUTIVE_GATEWAY_FAILURE: 0,
    Kind.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: 100,
    Kind.SUCCESS_RATE: 100,
    Kind.SUCCESS_RATE_LOCAL_ORIGIN: 100,
    Kind.FAILURE_PERCENTAGE: 0,
    Kind.FAILURE_PERCENTAGE_LOCAL_ORIGIN: 0,
}
"""How many of a hundred detections lead to an ejection, unless the configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class OutlierDetectionConfig:
    """The fields of the message under their names, with Envoy's defaults; times in seconds, shares in per cent.

    ``success_rate_stdev_factor`` is in thousandths. ``enforcing`` holds the ``enforcing_*`` fields.
    """

    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_time_jitter: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    split_external_local_origin_errors: bool = False
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    successful_active_health_check_uneject_host: bool = True
    enforcing: dict[Kind, int] = field(default_factory=lambda: dict(DEFAULT_ENFORCING))
