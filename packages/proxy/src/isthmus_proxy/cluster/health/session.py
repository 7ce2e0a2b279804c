"""Checks one endpoint as long as it is there: one timer, which is that of the next check or that of the check that runs."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.cluster.health.host_check import Failure, HostCheck, Transition
from isthmus_proxy.cluster.health.model import HealthCheckConfig
from isthmus_proxy.cluster.health.probe import Probe, Report
from isthmus_proxy.cluster.health.stats import HealthCheckStats
from isthmus_proxy.reactor.reactor import Reactor

Checked = Callable[["HealthCheckSession", Transition, bool], None]
"""Told of each check: what it did, and whether it passed."""


class HealthCheckSession:
    """See the module. ``connect`` makes the probe that reports here."""

    __slots__ = ("_busy", "_checked", "_config", "_probe", "_reactor", "_stats", "_timer", "host")

    def __init__(
        self,
        reactor: Reactor,
        config: HealthCheckConfig,
        host: HostCheck,
        stats: HealthCheckStats,
        connect: Callable[[Report], Probe],
        checked: Checked,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self.host = host
        self._stats = stats
        self._checked = checked
        self._busy = False
        self._probe = connect(self)
        self._timer = reactor.timer(self._due)

    def start(self, delay: float) -> None:
        """Check first in ``delay`` seconds."""
        self._timer.set(self._reactor.now + delay)

    def _due(self) -> None:
        if self._busy:
            self._probe.abandon()
            self.check_failed(Failure.NETWORK_TIMEOUT)
            return
        self._busy = True
        self._stats.attempt.value += 1
        self._timer.set(self._reactor.now + self._config.timeout)
        self._probe.begin()

    def check_passed(self, *, degraded: bool) -> None:
        """The endpoint is well."""
        if self._busy:
            self._over(self.host.passed(degraded=degraded), passed=True)

    def check_failed(self, failure: Failure, *, retriable: bool = False, status: int = 0) -> None:
        """It is not."""
        if self._busy:
            self._over(self.host.failed(failure, retriable=retriable, status=status), passed=False)

    def _over(self, transition: Transition, *, passed: bool) -> None:
        self._busy = False
        self._timer.set(self._reactor.now + self.host.next_check(transition, passed=passed))
        self._checked(self, transition, passed)

    def close(self) -> None:
        """Check no more."""
        self._busy = False
        self._timer.discard()
        self._probe.close()
        self.host.forget()
