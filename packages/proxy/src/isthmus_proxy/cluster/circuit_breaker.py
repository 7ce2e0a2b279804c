"""Limits on what a cluster holds at one time, and what it holds (config.cluster.v3.CircuitBreakers).

There is one breaker for each routing priority; all pools of that priority share it. The data path adds and takes away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.observe.stats import Gauge

PRIORITIES: Final = ("default", "high")
"""Names of the routing priorities, by their number."""


class CircuitBreaker:
    """What is in use of one priority of one cluster, next to its ``limits``."""

    __slots__ = ("active_connections", "active_requests", "active_retries", "connection_pools", "limits", "pending")

    def __init__(self, limits: Thresholds) -> None:
        self.limits = limits
        self.active_connections = 0
        self.active_requests = 0
        self.pending = 0
        self.active_retries = 0
        self.connection_pools = 0

    @property
    def max_retries(self) -> float:
        """How many retries may run now: a number, or a share of what is active where there is a retry budget."""
        budget = self.limits.retry_budget
        if budget is None:
            return self.limits.max_retries
        return max(budget.percent / 100.0 * (self.active_requests + self.pending), budget.min_concurrency)

    def gauges(self, priority: str) -> Iterator[Gauge]:
        """``circuit_breakers.<priority>.*`` as of now: ``*_open`` is 1 at the limit, ``remaining_*`` only if tracked."""
        limits = self.limits
        rows = (
            ("cx", self.active_connections, limits.max_connections),
            ("cx_pool", self.connection_pools, limits.max_connection_pools),
            ("rq", self.active_requests, limits.max_requests),
            ("rq_pending", self.pending, limits.max_pending_requests),
            ("rq_retry", self.active_retries, self.max_retries),
        )
        for short, used, limit in rows:
            yield _gauge(f"circuit_breakers.{priority}.{short}_open", int(used >= limit))
        if limits.track_remaining:
            for (_, used, limit), plural in zip(rows, _REMAINING, strict=True):
                yield _gauge(f"circuit_breakers.{priority}.remaining_{plural}", max(0, int(limit) - used))


_REMAINING: Final = ("cx", "cx_pools", "rq", "pending", "retries")


def _gauge(name: str, value: int) -> Gauge:
    gauge = Gauge(name)
    gauge.value = value
    return gauge
