"""Decides which endpoints of a cluster are ejected, and when they come back. Pure: time and randomness are parameters.

Failures in a row eject at once; success rates are compared once an interval, when those who served their time come back,
too. An ejection lasts base_ejection_time times the endpoint's multiplier, which grows with each ejection and shrinks with
each interval without one. The order of the steps is Envoy's, because it decides what the counters say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import FAILED_ACTIVE_HC, FAILED_OUTLIER_CHECK
from isthmus_proxy.cluster.outlier.model import Kind, OutlierDetectionConfig
from isthmus_proxy.cluster.outlier.monitor import OutlierMonitor
from isthmus_proxy.cluster.outlier.stats import OutlierStats

Origin = Literal["external", "local"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Mean success rate of the endpoints and the rate below which one is an outlier, in per cent; -1 if not known."""

    average: float = -1.0
    ejection: float = -1.0


class OutlierEventLog(Protocol):
    """Where ejections are told (Envoy's outlier event log)."""

    def ejected(self, detector: Detector, monitor: OutlierMonitor, kind: Kind, *, enforced: bool) -> None:
        """An endpoint was ejected, or would have been if that kind were enforced."""

    def unejected(self, detector: Detector, monitor: OutlierMonitor) -> None:
        """An endpoint came back."""


class Detector:
    """See the module. ``changed`` is called after flags of endpoints changed; ``clock`` gives seconds that never go back."""

    __slots__ = ("_changed", "_clock", "_log", "_random", "cluster", "config", "monitors", "stats", "thresholds")

    def __init__(
        self,
        cluster: str,
        config: OutlierDetectionConfig,
        stats: OutlierStats,
        clock: Callable[[], float],
        random: Callable[[], float],
        changed: Callable[[], None],
        log: OutlierEventLog | None = None,
    ) -> None:
        self.cluster = cluster
        self.config = config
        self.stats = stats
        self._clock = clock
        self._random = random
        self._changed = changed
        self._log = log
        self.monitors: dict[Endpoint, OutlierMonitor] = {}
        self.thresholds: dict[Origin, Threshold] = {"external": Threshold(), "local": Threshold()}

    def members_changed(self, added: Iterable[Endpoint], gone: Iterable[Endpoint]) -> None:
        """Watch ``added`` endpoints, forget those that are ``gone``."""
        for endpoint in added:
            monitor = self.monitors[endpoint] = OutlierMonitor(self, endpoint)
            endpoint.monitor = monitor
        for endpoint in gone:
            if self.monitors.pop(endpoint, None) is not None and endpoint.flags & FAILED_OUTLIER_CHECK:
                self.stats.active.value -= 1

    def close(self) -> None:
        """Detect no more: who is ejected comes back, nobody is watched."""
        for endpoint in self.monitors:
            endpoint.flags &= ~FAILED_OUTLIER_CHECK
            endpoint.monitor = None
        self.monitors.clear()
        self.stats.active.value = 0

    def consecutive(self, monitor: OutlierMonitor, kind: Kind) -> None:
        """``monitor`` counted enough failures in a row."""
        endpoint = monitor.endpoint
        if self.monitors.get(endpoint) is not monitor or endpoint.flags & FAILED_OUTLIER_CHECK:
            return
        self.stats.detected[kind].value += 1
        self._eject(monitor, kind)
        if kind is Kind.CONSECUTIVE_5XX:
            self.stats.consecutive_5xx.value += 1

    def check_passed(self, endpoint: Endpoint) -> None:
        """An active health check succeeded: reason enough to take the endpoint back, if the configuration says so."""
        monitor = self.monitors.get(endpoint)
        if (
            monitor is not None
            and self.config.successful_active_health_check_uneject_host
            and endpoint.flags & FAILED_OUTLIER_CHECK
            and not endpoint.flags & FAILED_ACTIVE_HC
        ):
            self._uneject(monitor)

    def tick(self) -> None:
        """An interval is over."""
        now = self._clock()
        for monitor in self.monitors.values():
            if monitor.endpoint.flags & FAILED_OUTLIER_CHECK and self._served(monitor, now):
                self._uneject(monitor)
            monitor.external.turn()
            monitor.local.turn()
            monitor.success_rate = monitor.local_origin_success_rate = -1.0
        self._compare("external")
        self._compare("local")
        for monitor in self.monitors.values():
            self._forgive(monitor, now)

    def _served(self, monitor: OutlierMonitor, now: float) -> bool:
        config = self.config
        term = min(config.base_ejection_time * monitor.backoff, config.max_ejection_time) + monitor.jitter
        return monitor.ejected_at is not None and term <= now - monitor.ejected_at

    def _forgive(self, monitor: OutlierMonitor, now: float) -> None:
        """The multiplier shrinks with each whole interval that an endpoint stayed in."""
        if monitor.backoff == 0 or monitor.unejected_at is None or monitor.endpoint.flags & FAILED_OUTLIER_CHECK:
            return
        if now - monitor.unejected_at >= self.config.interval:
            monitor.backoff -= 1

    def _compare(self, origin: Origin) -> None:
        config = self.config
        self.thresholds[origin] = Threshold()
        if len(self.monitors) < min(config.success_rate_minimum_hosts, config.failure_percentage_minimum_hosts):
            return
        rated = self._rated(origin)
        self._by_success_rate(origin, [row for row in rated if row[2] >= config.success_rate_request_volume])
        self._by_percentage(origin, [row for row in rated if row[2] >= config.failure_percentage_request_volume])

    def _rated(self, origin: Origin) -> list[tuple[OutlierMonitor, float, int]]:
        """(monitor, success rate, volume) of endpoints that are in and had requests."""
        config, rated = self.config, []
        enough = min(config.success_rate_request_volume, config.failure_percentage_request_volume)
        for monitor in self.monitors.values():
            counted = monitor.external if origin == "external" else monitor.local
            if not counted.volume or monitor.endpoint.flags & FAILED_OUTLIER_CHECK:
                continue
            rated.append((monitor, counted.rate, counted.volume))
            if counted.volume >= enough:
                if origin == "external":
                    monitor.success_rate = counted.rate
                else:
                    monitor.local_origin_success_rate = counted.rate
        return rated

    def _by_success_rate(self, origin: Origin, rated: list[tuple[OutlierMonitor, float, int]]) -> None:
        if not rated or len(rated) < self.config.success_rate_minimum_hosts:
            return
        threshold = self.thresholds[origin] = ejection_threshold(
            [rate for _, rate, _ in rated], self.config.success_rate_stdev_factor / 1000.0
        )
        kind = Kind.SUCCESS_RATE if origin == "external" else Kind.SUCCESS_RATE_LOCAL_ORIGIN
        for monitor, rate, _ in rated:
            if rate < threshold.ejection:
                self.stats.success_rate.value += 1
                self.stats.detected[kind].value += 1
                self._eject(monitor, kind)

    def _by_percentage(self, origin: Origin, rated: list[tuple[OutlierMonitor, float, int]]) -> None:
        if not rated or len(rated) < self.config.failure_percentage_minimum_hosts:
            return
        kind = Kind.FAILURE_PERCENTAGE if origin == "external" else Kind.FAILURE_PERCENTAGE_LOCAL_ORIGIN
        for monitor, rate, _ in rated:
            if 100.0 - rate >= self.config.failure_percentage_threshold:
                self.stats.detected[kind].value += 1
                self._eject(monitor, kind)

    def _eject(self, monitor: OutlierMonitor, kind: Kind) -> None:
        if monitor.endpoint.flags & FAILED_OUTLIER_CHECK:
            return  # its success rate ejected it just before its failure percentage would
        active = self.stats.active.value
        allowed = 100.0 * (active + 1) / len(self.monitors) <= min(100, self.config.max_ejection_percent)
        if not allowed and not (self.config.always_eject_one_host and active == 0):
            self.stats.overflow.value += 1
            return
        if kind in (Kind.CONSECUTIVE_5XX, Kind.SUCCESS_RATE):
            self.stats.total.value += 1
        enforced = self._random() * 100.0 < self.config.enforcing[kind]
        if enforced:
            self._put_out(monitor, kind)
        if self._log is not None:
            self._log.ejected(self, monitor, kind, enforced=enforced)

    def _put_out(self, monitor: OutlierMonitor, kind: Kind) -> None:
        config, stats = self.config, self.stats
        stats.active.value += 1
        stats.enforced_total.value += 1
        stats.enforced[kind].value += 1
        monitor.endpoint.flags |= FAILED_OUTLIER_CHECK
        monitor.ejections += 1
        monitor.ejected_at = self._clock()
        monitor.jitter = self._random() * config.max_ejection_time_jitter
        if monitor.backoff * config.base_ejection_time < config.max_ejection_time + config.base_ejection_time:
            monitor.backoff += 1
        self._changed()

    def _uneject(self, monitor: OutlierMonitor) -> None:
        self.stats.active.value -= 1
        monitor.endpoint.flags &= ~FAILED_OUTLIER_CHECK
        monitor.reset_consecutive()
        monitor.unejected_at = self._clock()
        self._changed()
        if self._log is not None:
            self._log.unejected(self, monitor)

    def since_last_action(self, at: float | None) -> int | None:
        """Whole seconds since ``at``; for the event log."""
        return None if at is None else int(self._clock() - at)


def ejection_threshold(rates: list[float], factor: float) -> Threshold:
    """Mean of ``rates``, and ``factor`` standard deviations (of the population) below it."""
    mean = sum(rates) / len(rates)
    deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / len(rates))
    return Threshold(mean, mean - factor * deviation)
