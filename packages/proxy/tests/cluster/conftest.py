"""Clusters with real stats and a random source that tests can read."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.cluster.stats import cluster_stats
from isthmus_proxy.observe.stats import StatsStore

MakeCluster = Callable[[ClusterConfig], Cluster]


@pytest.fixture
def store() -> StatsStore:
    return StatsStore()


@pytest.fixture
def make_cluster(store: StatsStore) -> MakeCluster:
    random = Random(1).random
    return lambda config: Cluster(config, cluster_stats(store.scope(f"cluster.{config.name}")), random, lambda: 0.0)


@pytest.fixture
def manager(store: StatsStore) -> ClusterManager:
    return ClusterManager(lambda name: store.scope(f"cluster.{name}"), Random(1).random, lambda: 0.0)
