"""What happens to clusters as such, under Envoy's names below ``cluster_manager.``."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.observe.stats import StatsStore


class ClusterManagerStats:
    """Counts additions, changes and removals. ``count`` gives the number of clusters."""

    __slots__ = ("_active", "_added", "_before", "_count", "_modified", "_removed")

    def __init__(self, store: StatsStore, count: Callable[[], int]) -> None:
        scope = store.scope("cluster_manager")
        self._active = scope.gauge("active_clusters")
        self._added = scope.counter("cluster_added")
        self._modified = scope.counter("cluster_modified")
        self._removed = scope.counter("cluster_removed")
        scope.gauge("warming_clusters")
        self._count = count
        self._before = count()

    def changed(self, _name: str, config: ClusterConfig | None) -> None:
        """A cluster was added, changed or (None) removed; called by the cluster manager."""
        now = self._count()
        if config is None:
            self._removed.value += 1
        elif now > self._before:
            self._added.value += 1
        else:
            self._modified.value += 1
        self._before = self._active.value = now
