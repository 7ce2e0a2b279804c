from __future__ import annotations

import random

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.observe.cluster_manager_stats import ClusterManagerStats
from isthmus_proxy.observe.stats import StatsStore


def test_additions_changes_and_removals_are_told_apart() -> None:
    store = StatsStore()
    clusters = ClusterManager(lambda name: store.scope(f"cluster.{name}"), random.Random(1).random, lambda: 0.0)
    clusters.on_config_changed(ClusterManagerStats(store, clusters.__len__).changed)
    for name in ("a", "b", "b"):
        clusters.add_or_update(ClusterConfig(name, "STATIC", content="1"))
    clusters.add_or_update(ClusterConfig("b", "STATIC", content="2"))
    clusters.remove("a")
    clusters.remove("absent")
    names = ("active_clusters", "cluster_added", "cluster_modified", "cluster_removed")
    assert [store.value(f"cluster_manager.{name}") for name in names] == [1, 2, 1, 1]
