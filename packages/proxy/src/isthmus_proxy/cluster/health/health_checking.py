"""The active health checks of one cluster: a session for each endpoint that is to be checked, as long as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import (
    ACTIVE_HC_TIMEOUT,
    DEGRADED_ACTIVE_HC,
    FAILED_ACTIVE_HC,
    PENDING_ACTIVE_HC,
)
from isthmus_proxy.cluster.health.host_check import HealthEventLog, HostCheck, Transition
from isthmus_proxy.cluster.health.model import HealthCheckConfig
from isthmus_proxy.cluster.health.probe import Probe, Report
from isthmus_proxy.cluster.health.probes import make_probe
from isthmus_proxy.cluster.health.session import HealthCheckSession
from isthmus_proxy.cluster.health.stats import HealthCheckStats
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.upstream.transports import Transports

_ALL = FAILED_ACTIVE_HC | DEGRADED_ACTIVE_HC | PENDING_ACTIVE_HC | ACTIVE_HC_TIMEOUT


def _subject(config: ClusterConfig) -> object:
    """What checks depend on: they begin anew when it changes."""
    return config.health_check, config.transport, config.transport_matches


class HealthObserver(Protocol):
    """Who is told what checks find."""

    def health_changed(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """The health of ``endpoint`` changed."""

    def check_passed(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """``endpoint`` passed a check."""


class HealthChecking:
    """See the module. ``random`` gives numbers in [0, 1).

    Endpoints that are there already stay in service until they fail: a change of the checks must not take them all out.
    """

    __slots__ = (
        "_cluster",
        "_config",
        "_log",
        "_observer",
        "_random",
        "_reactor",
        "_sessions",
        "_stats",
        "_subject",
        "_transports",
    )

    def __init__(
        self,
        reactor: Reactor,
        transports: Transports,
        cluster: Cluster,
        config: HealthCheckConfig,
        random: Callable[[], float],
        observer: HealthObserver,
        log: HealthEventLog | None,
    ) -> None:
        self._reactor = reactor
        self._transports = transports
        self._cluster = cluster
        self._config = config
        self._subject = _subject(cluster.config)
        self._random = random
        self._observer = observer
        self._log = log
        self._stats = HealthCheckStats(cluster.stats.scope)
        self._sessions: dict[Endpoint, HealthCheckSession] = {}
        for endpoint in cluster.endpoints.values():
            if not endpoint.config.health_check.disabled:
                self._stats.healthy.value += 1
                self._check(endpoint)
        cluster.observe(self._members_changed)

    def checks_as(self, config: ClusterConfig) -> bool:
        """Whether checks go on as they are under ``config``."""
        return _subject(config) == self._subject

    def _members_changed(self, added: Iterable[Endpoint], gone: Iterable[Endpoint]) -> None:
        """Check ``added`` endpoints, forget those that are ``gone``."""
        for endpoint in gone:
            session = self._sessions.pop(endpoint, None)
            if session is not None:
                session.close()
        warm = self._cluster.config.ignore_new_hosts_until_first_hc
        for endpoint in added:
            if not endpoint.config.health_check.disabled:
                endpoint.flags |= FAILED_ACTIVE_HC | (PENDING_ACTIVE_HC if warm else 0)
                self._check(endpoint)

    def _check(self, endpoint: Endpoint) -> None:
        config, cluster = self._config, self._cluster
        host = HostCheck(config, endpoint, self._stats, self._random, self._has_traffic, self._log)

        def connect(report: Report) -> Probe:
            return make_probe(self._reactor, self._transports, cluster, config, endpoint, report)

        session = HealthCheckSession(self._reactor, config, host, self._stats, connect, self._checked)
        self._sessions[endpoint] = session
        session.start(self._random() * config.initial_jitter if config.initial_jitter else 0.0)

    def _has_traffic(self) -> bool:
        return self._cluster.stats.upstream_cx_total.value > 0

    def _checked(self, session: HealthCheckSession, transition: Transition, passed: bool) -> None:
        endpoint = session.host.endpoint
        if transition is Transition.CHANGED:
            self._observer.health_changed(self._cluster, endpoint)
        if passed:
            self._observer.check_passed(self._cluster, endpoint)

    def close(self) -> None:
        """Check no more: endpoints are what discovery says of them."""
        self._cluster.forget(self._members_changed)
        for endpoint, session in self._sessions.items():
            session.close()
            endpoint.flags &= ~_ALL
        self._sessions.clear()
        self._cluster.health_changed()
