"""Ejections as lines of JSON, as Envoy's outlier event log writes them (data.cluster.v3.OutlierDetectionEvent)."""

from __future__ import annotations

import json
from collections.abc import Callable

from isthmus_proxy.cluster.outlier.detector import Detector
from isthmus_proxy.cluster.outlier.model import Kind
from isthmus_proxy.cluster.outlier.monitor import OutlierMonitor

_EXTERNAL = (Kind.SUCCESS_RATE, Kind.FAILURE_PERCENTAGE)


class JsonOutlierEventLog:
    """Gives ``write`` one line an event; ``timestamp`` makes the wall-clock time as RFC 3339 text."""

    __slots__ = ("_timestamp", "_write")

    def __init__(self, write: Callable[[bytes], None], timestamp: Callable[[], str]) -> None:
        self._write = write
        self._timestamp = timestamp

    def ejected(self, detector: Detector, monitor: OutlierMonitor, kind: Kind, *, enforced: bool) -> None:
        """An endpoint was ejected, or would have been if that kind were enforced."""
        event = self._event(detector, monitor, kind.name, "EJECT", monitor.unejected_at, enforced=enforced)
        rate = monitor.success_rate if kind in _EXTERNAL else monitor.local_origin_success_rate
        if kind in (Kind.SUCCESS_RATE, Kind.SUCCESS_RATE_LOCAL_ORIGIN):
            threshold = detector.thresholds["external" if kind in _EXTERNAL else "local"]
            event["eject_success_rate_event"] = {
                "host_success_rate": int(rate),
                "cluster_average_success_rate": int(threshold.average),
                "cluster_success_rate_ejection_threshold": max(0, int(threshold.ejection)),
            }
        elif kind in (Kind.FAILURE_PERCENTAGE, Kind.FAILURE_PERCENTAGE_LOCAL_ORIGIN):
            event["eject_failure_percentage_event"] = {"host_success_rate": int(rate)}
        else:
            event["eject_consecutive_event"] = {}
        self._put(event)

    def unejected(self, detector: Detector, monitor: OutlierMonitor) -> None:
        """An endpoint came back."""
        self._put(self._event(detector, monitor, "CONSECUTIVE_5XX", "UNEJECT", monitor.ejected_at, enforced=False))

    def _event(
        self,
        detector: Detector,
        monitor: OutlierMonitor,
        kind: str,
        action: str,
        since: float | None,
        *,
        enforced: bool,
    ) -> dict[str, object]:
        event: dict[str, object] = {"type": kind, "timestamp": self._timestamp()}
        passed = detector.since_last_action(since)
        if passed is not None:
            event["secs_since_last_action"] = str(passed)
        event["cluster_name"] = detector.cluster
        event["upstream_url"] = monitor.endpoint.name
        event["action"] = action
        event["num_ejections"] = monitor.ejections
        event["enforced"] = enforced
        return event

    def _put(self, event: dict[str, object]) -> None:
        self._write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
