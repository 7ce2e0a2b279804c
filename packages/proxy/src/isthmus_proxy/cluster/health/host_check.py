"""What the checks of one endpoint add up to (Envoy's HealthCheckerImplBase). Pure: the outcome of each check is told.

An endpoint starts as failed; its first check decides alone, later ones by the thresholds. A wrong answer, unlike one that
does not come, makes an endpoint unhealthy at once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import (
    ACTIVE_HC_TIMEOUT,
    DEGRADED_ACTIVE_HC,
    FAILED_ACTIVE_HC,
    PENDING_ACTIVE_HC,
)
from isthmus_proxy.cluster.health.model import HealthCheckConfig
from isthmus_proxy.cluster.health.stats import HealthCheckStats


class Failure(Enum):
    """Why a check failed (data.core.v3.HealthCheckFailureType)."""

    ACTIVE = "ACTIVE"
    NETWORK = "NETWORK"
    NETWORK_TIMEOUT = "NETWORK_TIMEOUT"


class Transition(Enum):
    """What a check did to the endpoint's health."""

    UNCHANGED = 0
    CHANGED = 1
    PENDING = 2
    """Some of the checks in a row that it takes have ended this way."""


class HealthEventLog(Protocol):
    """Where changes of health are told."""

    def ejected(self, endpoint: Endpoint, failure: Failure, status: int) -> None:
        """``endpoint`` became unhealthy; ``status`` is that of a wrong answer over HTTP, else 0."""

    def added(self, endpoint: Endpoint, *, first_check: bool) -> None:
        """``endpoint`` became healthy."""

    def failed(self, endpoint: Endpoint, failure: Failure, status: int, *, first_check: bool) -> None:
        """A check failed."""

    def succeeded(self, endpoint: Endpoint) -> None:
        """A check succeeded."""

    def degraded(self, endpoint: Endpoint, *, now: bool) -> None:
        """``endpoint`` calls itself degraded, or no longer does."""


class HostCheck:
    """See the module. ``random`` gives numbers in [0, 1); ``traffic`` tells whether the cluster has had a connection yet."""

    __slots__ = (
        "_config",
        "_first",
        "_log",
        "_num_healthy",
        "_num_unhealthy",
        "_random",
        "_stats",
        "_traffic",
        "endpoint",
    )

    def __init__(
        self,
        config: HealthCheckConfig,
        endpoint: Endpoint,
        stats: HealthCheckStats,
        random: Callable[[], float],
        traffic: Callable[[], bool],
        log: HealthEventLog | None = None,
    ) -> None:
        self._config = config
        self.endpoint = endpoint
        self._stats = stats
        self._random = random
        self._traffic = traffic
        self._log = log
        self._first = True
        self._num_healthy = 0
        self._num_unhealthy = 0

    def passed(self, *, degraded: bool = False) -> Transition:
        """A check succeeded; ``degraded`` if the endpoint says so of itself."""
        endpoint, log = self.endpoint, self._log
        self._num_unhealthy = 0
        transition = Transition.UNCHANGED
        if endpoint.flags & FAILED_ACTIVE_HC:
            self._num_healthy += 1
            transition = Transition.PENDING
            if self._first or self._num_healthy >= self._config.healthy_threshold:
                endpoint.flags &= ~(FAILED_ACTIVE_HC | ACTIVE_HC_TIMEOUT)
                self._stats.healthy.value += 1
                transition = Transition.CHANGED
                if log is not None:
                    log.added(endpoint, first_check=self._first)
        transition = self._no_longer_pending(transition)
        if degraded != bool(endpoint.flags & DEGRADED_ACTIVE_HC):
            endpoint.flags ^= DEGRADED_ACTIVE_HC
            self._stats.degraded.value += 1 if degraded else -1
            transition = Transition.CHANGED
            if log is not None:
                log.degraded(endpoint, now=degraded)
        self._stats.success.value += 1
        self._first = False
        if log is not None and self._config.always_log_success and transition is not Transition.CHANGED:
            log.succeeded(endpoint)
        return transition

    def failed(self, failure: Failure, *, retriable: bool = False, status: int = 0) -> Transition:
        """A check failed; ``retriable`` if the answer is one that has to come as often as no answer to count."""
        endpoint, log = self.endpoint, self._log
        self._num_healthy = 0
        transition = Transition.UNCHANGED
        if not endpoint.flags & FAILED_ACTIVE_HC:
            self._num_unhealthy += 1
            transition = Transition.PENDING
            at_once = failure is Failure.ACTIVE and not retriable
            if at_once or self._num_unhealthy >= self._config.unhealthy_threshold:
                endpoint.flags |= FAILED_ACTIVE_HC
                self._stats.healthy.value -= 1
                transition = Transition.CHANGED
                if log is not None:
                    log.ejected(endpoint, failure, status)
        if endpoint.flags & FAILED_ACTIVE_HC:
            timed_out = ACTIVE_HC_TIMEOUT if failure is Failure.NETWORK_TIMEOUT else 0
            endpoint.flags = endpoint.flags & ~ACTIVE_HC_TIMEOUT | timed_out
        transition = self._no_longer_pending(transition)
        if log is not None and (self._first or self._config.always_log_failures):
            log.failed(endpoint, failure, status, first_check=self._first)
        self._stats.failure.value += 1
        if failure is not Failure.ACTIVE:
            self._stats.network_failure.value += 1
        self._first = False
        return transition

    def _no_longer_pending(self, transition: Transition) -> Transition:
        if not self.endpoint.flags & PENDING_ACTIVE_HC:
            return transition
        self.endpoint.flags &= ~PENDING_ACTIVE_HC
        return Transition.CHANGED

    def next_check(self, transition: Transition, *, passed: bool) -> float:
        """Seconds until the next check, after one that ``passed`` or not."""
        config = self._config
        edge = transition is Transition.PENDING
        if not self._traffic():
            base = config.no_traffic_healthy_interval if passed else config.no_traffic_interval
        elif passed:
            base = config.healthy_edge_interval if edge else config.interval
        else:
            base = config.unhealthy_edge_interval if edge else config.unhealthy_interval
        share = base * config.interval_jitter_percent / 100.0
        jitter = self._random() * share if share else 0.0
        if config.interval_jitter:
            jitter += self._random() * config.interval_jitter
        return base + jitter

    def forget(self) -> None:
        """The endpoint is checked no more: what it counted for is taken back."""
        if not self.endpoint.flags & FAILED_ACTIVE_HC:
            self._stats.healthy.value -= 1
        if self.endpoint.flags & DEGRADED_ACTIVE_HC:
            self._stats.degraded.value -= 1
