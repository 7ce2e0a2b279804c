"""Gives clusters what watches their endpoints: active health checks and outlier detection, on the reactor's deadline heap.

The I/O edge of ``outlier``: one timer a cluster, made with the cluster, and nothing for clusters without. Of ``health``: one
timer an endpoint, from the start, whether the cluster is used or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import FAILED_ACTIVE_HC, PENDING_DYNAMIC_REMOVAL
from isthmus_proxy.cluster.health.model import HealthCheckConfig
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.cluster.outlier.detector import Detector, OutlierEventLog
from isthmus_proxy.cluster.outlier.model import OutlierDetectionConfig
from isthmus_proxy.cluster.outlier.stats import OutlierStats
from isthmus_proxy.reactor.reactor import Reactor, Timer
from isthmus_proxy.reactor.timers import NEVER
from isthmus_proxy.upstream.transports import Transports

if TYPE_CHECKING:
    from isthmus_proxy.cluster.health.health_checking import HealthChecking
    from isthmus_proxy.cluster.health.host_check import HealthEventLog

HealthLogs = Callable[[str, HealthCheckConfig], "HealthEventLog | None"]
"""Opens the event logs of the checks of a cluster, given its name."""


class ClusterMonitoring:
    """Attach it to a cluster manager once; it follows the manager's clusters. ``random`` gives numbers in [0, 1)."""

    def __init__(
        self,
        reactor: Reactor,
        transports: Transports,
        clusters: ClusterManager,
        random: Callable[[], float],
        outlier_log: OutlierEventLog | None = None,
        health_logs: HealthLogs | None = None,
    ) -> None:
        self._reactor = reactor
        self._transports = transports
        self._clusters = clusters
        self._random = random
        self._outlier_log = outlier_log
        self._health_logs = health_logs
        self._checks: dict[str, HealthChecking] = {}
        self._outliers: dict[str, _OutlierDetection] = {}
        self._stale: list[Cluster] = []
        clusters.on_built(self._built)
        clusters.on_config_changed(self._changed)

    def _built(self, cluster: Cluster) -> None:
        checks = cluster.config.health_check
        if checks is not None:
            self._check(cluster, checks)
        if cluster.config.original_dst is not None:
            _Cleaning(self._reactor, self._clusters, cluster)
        config = cluster.config.outlier_detection
        if config is not None:
            self._detect(cluster, config)

    def _changed(self, name: str, config: ClusterConfig | None) -> None:
        self._checks_changed(name, config)
        running = self._outliers.get(name)
        wanted = None if config is None else config.outlier_detection
        if running is not None and running.detector.config != wanted:
            del self._outliers[name]
            running.close()
        cluster = self._clusters.in_use(name)
        if cluster is not None and wanted is not None and name not in self._outliers:
            self._detect(cluster, wanted)

    def _checks_changed(self, name: str, config: ClusterConfig | None) -> None:
        running = self._checks.get(name)
        wanted = None if config is None else config.health_check
        if running is not None and (config is None or not running.checks_as(config)):
            del self._checks[name]
            running.close()
        if wanted is None or name in self._checks:
            return
        cluster = self._clusters.in_use(name)
        if cluster is not None:
            self._check(cluster, wanted)
        else:
            self._clusters.get(name)  # checks begin at once, so the cluster is built, which leads to ``_built``

    def _check(self, cluster: Cluster, config: HealthCheckConfig) -> None:
        from isthmus_proxy.cluster.health.health_checking import HealthChecking  # noqa: PLC0415 - only where it is used

        log = self._health_logs(cluster.name, config) if self._health_logs is not None else None
        self._checks[cluster.name] = HealthChecking(
            self._reactor, self._transports, cluster, config, self._random, self, log
        )

    def close(self) -> None:
        """Check no more: the proxy ends."""
        checks, self._checks = self._checks, {}
        for running in checks.values():
            running.close()

    def health_changed(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """A health check changed what is thought of ``endpoint``."""
        if not endpoint.flags & FAILED_ACTIVE_HC:
            endpoint.healthy_since = self._clusters.now()
        else:
            self._clusters.failed_health(cluster, endpoint)
            for dependent in list(endpoint.dependents or ()):
                dependent.close()
            if endpoint.flags & PENDING_DYNAMIC_REMOVAL:
                self._clusters.drop(cluster, endpoint)
        self._rebalance(cluster)

    def check_passed(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """An ejected endpoint that passes its check may come back."""
        outliers = self._outliers.get(cluster.name)
        if outliers is not None:
            outliers.detector.check_passed(endpoint)

    def _detect(self, cluster: Cluster, config: OutlierDetectionConfig) -> None:
        detector = Detector(
            cluster.name,
            config,
            OutlierStats(cluster.stats.scope),
            self._now,
            self._random,
            lambda: self._rebalance(cluster),
            self._outlier_log,
        )
        self._outliers[cluster.name] = _OutlierDetection(self._reactor, cluster, detector)

    def _now(self) -> float:
        return self._reactor.now

    def _rebalance(self, cluster: Cluster) -> None:
        """Balance anew at the end of the batch: once, however many endpoints changed in it."""
        if not self._stale:
            self._reactor.call_soon(self._settle)
        if cluster not in self._stale:
            self._stale.append(cluster)

    def _settle(self) -> None:
        stale, self._stale = self._stale, []
        for cluster in stale:
            cluster.health_changed()


class _Cleaning:
    """Lets unused endpoints of an ORIGINAL_DST cluster go, once an interval as long as there are any."""

    __slots__ = ("_cluster", "_clusters", "_reactor", "_timer")

    def __init__(self, reactor: Reactor, clusters: ClusterManager, cluster: Cluster) -> None:
        self._reactor = reactor
        self._clusters = clusters
        self._cluster = cluster
        self._timer = reactor.timer(self._tick)
        cluster.observe(self._members_changed)

    def _members_changed(self, added: list[Endpoint], _gone: list[Endpoint]) -> None:
        if added and self._timer.at == NEVER:
            self._arm()

    def _arm(self) -> None:
        original_dst = self._cluster.config.original_dst
        if original_dst is not None:
            self._timer.set(self._reactor.now + original_dst.cleanup_interval)

    def _tick(self) -> None:
        self._clusters.clean_up(self._cluster)
        if self._cluster.endpoints:
            self._arm()


class _OutlierDetection:
    """A detector at work: told of the cluster's endpoints, ticking once an interval."""

    __slots__ = ("_cluster", "_reactor", "_timer", "detector")

    def __init__(self, reactor: Reactor, cluster: Cluster, detector: Detector) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self.detector = detector
        detector.members_changed(cluster.endpoints.values(), ())
        cluster.observe(detector.members_changed)
        self._timer: Timer = reactor.call_later(detector.config.interval, self._tick)

    def _tick(self) -> None:
        self._timer.set(self._reactor.now + self.detector.config.interval)
        self.detector.tick()

    def close(self) -> None:
        """Watch no more; everybody ejected comes back."""
        self._timer.discard()
        self._cluster.forget(self.detector.members_changed)
        self.detector.close()
        self._cluster.health_changed()
