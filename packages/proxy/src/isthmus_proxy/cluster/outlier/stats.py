"""What outlier detection counts, under Envoy's names below ``cluster.<name>.outlier_detection.``."""

from __future__ import annotations

from isthmus_proxy.cluster.outlier.model import Kind
from isthmus_proxy.observe.stats_scope import StatsScope


class OutlierStats:
    """``detected`` and ``enforced`` count by kind; the three named like plain kinds are Envoy's older counters."""

    __slots__ = (
        "active",
        "consecutive_5xx",
        "detected",
        "enforced",
        "enforced_total",
        "overflow",
        "success_rate",
        "total",
    )

    def __init__(self, scope: StatsScope) -> None:
        prefix = "outlier_detection.ejections"
        self.active = scope.gauge(f"{prefix}_active")
        self.overflow = scope.counter(f"{prefix}_overflow")
        self.total = scope.counter(f"{prefix}_total")
        self.consecutive_5xx = scope.counter(f"{prefix}_consecutive_5xx")
        self.success_rate = scope.counter(f"{prefix}_success_rate")
        self.enforced_total = scope.counter(f"{prefix}_enforced_total")
        self.detected = {kind: scope.counter(f"{prefix}_detected_{kind.value}") for kind in Kind}
        self.enforced = {kind: scope.counter(f"{prefix}_enforced_{kind.value}") for kind in Kind}
