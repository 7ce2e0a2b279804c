"""What health checks count, under Envoy's names below ``cluster.<name>.health_check.``."""

from __future__ import annotations

from isthmus_proxy.observe.stats_scope import StatsScope


class HealthCheckStats:
    """Counters of checks, and gauges of the endpoints that pass them, and of those that call themselves degraded."""

    __slots__ = (
        "attempt",
        "degraded",
        "failure",
        "healthy",
        "network_failure",
        "passive_failure",
        "success",
        "verify_cluster",
    )

    def __init__(self, scope: StatsScope) -> None:
        prefix = "health_check"
        self.attempt = scope.counter(f"{prefix}.attempt")
        self.failure = scope.counter(f"{prefix}.failure")
        self.network_failure = scope.counter(f"{prefix}.network_failure")
        self.passive_failure = scope.counter(f"{prefix}.passive_failure")
        self.success = scope.counter(f"{prefix}.success")
        self.verify_cluster = scope.counter(f"{prefix}.verify_cluster")
        self.degraded = scope.gauge(f"{prefix}.degraded")
        self.healthy = scope.gauge(f"{prefix}.healthy")
