"""Ejection of endpoints that fail."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import UInt32Value

_ALWAYS = 100  # per cent of the detections that eject


def set_outlier_detection(cluster: Any, settings: Any) -> None:
    """Set on a cluster what Istio's ``OutlierDetection`` says; None leaves detection off.

    Detection by success rate is off, as Istio has it. The panic threshold is ``minHealthPercent``, by default 0: then
    requests never go to ejected endpoints, however few are left.
    """
    if settings is None:
        return
    detection = cluster.outlier_detection
    detection.enforcing_success_rate.CopyFrom(UInt32Value(value=0))
    _count(detection, "consecutive_5xx", settings, "consecutive_5xx_errors")
    _count(detection, "consecutive_gateway_failure", settings, "consecutive_gateway_errors")
    for name in ("interval", "base_ejection_time"):
        if settings.HasField(name):
            getattr(detection, name).CopyFrom(getattr(settings, name))
    if settings.max_ejection_percent:
        detection.max_ejection_percent.CopyFrom(UInt32Value(value=settings.max_ejection_percent))
    if settings.split_external_local_origin_errors:
        detection.split_external_local_origin_errors = True
        detection.enforcing_local_origin_success_rate.CopyFrom(UInt32Value(value=0))
        if settings.consecutive_local_origin_failures.value:
            _count(detection, "consecutive_local_origin_failure", settings, "consecutive_local_origin_failures")
    cluster.common_lb_config.healthy_panic_threshold.value = settings.min_health_percent


def _count(detection: Any, name: str, settings: Any, given: str) -> None:
    """One detector by failures in a row: 0 switches it off, unset leaves Envoy's default."""
    if not settings.HasField(given):
        return
    count = getattr(settings, given).value
    getattr(detection, name).CopyFrom(UInt32Value(value=count))
    getattr(detection, f"enforcing_{name}").CopyFrom(UInt32Value(value=_ALWAYS if count else 0))
