"""Gives clusters what watches their endpoints: outlier detection, with its interval on the reactor's deadline heap.

The I/O edge of ``outlier``: one timer a cluster, made with the cluster, and nothing for clusters without.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.cluster.outlier.detector import Detector, OutlierEventLog
from isthmus_proxy.cluster.outlier.model import OutlierDetectionConfig
from isthmus_proxy.cluster.outlier.stats import OutlierStats
from isthmus_proxy.reactor.reactor import Reactor, Timer


class ClusterMonitoring:
    """Attach it to a cluster manager once; it follows the manager's clusters. ``random`` gives numbers in [0, 1)."""

    def __init__(
        self,
        reactor: Reactor,
        clusters: ClusterManager,
        random: Callable[[], float],
        outlier_log: OutlierEventLog | None = None,
    ) -> None:
        self._reactor = reactor
        self._clusters = clusters
        self._random = random
        self._outlier_log = outlier_log
        self._outliers: dict[str, _OutlierDetection] = {}
        self._stale: list[Cluster] = []
        clusters.on_built(self._built)
        clusters.on_config_changed(self._changed)

    def _built(self, cluster: Cluster) -> None:
        config = cluster.config.outlier_detection
        if config is not None:
            self._detect(cluster, config)

    def _changed(self, name: str, config: ClusterConfig | None) -> None:
        running = self._outliers.get(name)
        wanted = None if config is None else config.outlier_detection
        if running is not None and running.detector.config != wanted:
            del self._outliers[name]
            running.close()
        cluster = self._clusters.in_use(name)
        if cluster is not None and wanted is not None and name not in self._outliers:
            self._detect(cluster, wanted)

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
