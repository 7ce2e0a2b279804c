from __future__ import annotations

from dataclasses import replace

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.lb_policy import Random
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.observe.stats import StatsStore


def assignment(*ports: int) -> Assignment:
    return Assignment("web", (LocalityEndpoints(tuple(EndpointConfig("10.0.0.1", port) for port in ports)),))


EDS = ClusterConfig("web", "EDS", content="1")


def test_clusters_are_built_when_they_are_used(manager: ClusterManager, store: StatsStore) -> None:
    for number in range(1000):
        manager.add_or_update(ClusterConfig(f"c{number}", "STATIC", assignment=assignment(1)))
    assert len(manager) == 1000
    assert not store.scopes()
    cluster = manager.get("c7")
    assert cluster is not None
    assert cluster.choose() is not None
    assert manager.get("c7") is cluster
    assert [scope.prefix for scope in store.scopes()] == ["cluster.c7"]
    assert list(manager.active()) == [cluster]


def test_an_unknown_cluster_is_none(manager: ClusterManager) -> None:
    assert manager.get("nowhere") is None
    assert manager.in_use("nowhere") is None
    assert not manager.update_assignment("nowhere", assignment(1))
    assert not manager.remove("nowhere")


def test_endpoints_that_come_before_the_first_use_are_there(manager: ClusterManager) -> None:
    manager.add_or_update(EDS)
    assert not manager.has_assignment("web")
    assert manager.update_assignment("web", assignment(1, 2))
    assert manager.has_assignment("web")
    cluster = manager.get("web")
    assert cluster is not None
    assert [port for _, port in cluster.endpoints] == [1, 2]


def test_an_unchanged_configuration_changes_nothing(manager: ClusterManager) -> None:
    assert manager.add_or_update(EDS)
    assert not manager.add_or_update(replace(EDS))
    assert manager.update_assignment("web", assignment(1))
    assert not manager.update_assignment("web", assignment(1))


def test_a_changed_configuration_keeps_cluster_endpoints_and_counts(manager: ClusterManager) -> None:
    manager.add_or_update(EDS)
    manager.update_assignment("web", assignment(1))
    cluster = manager.get("web")
    assert cluster is not None
    endpoint = cluster.choose()
    cluster.breakers[0].active_requests = 3
    assert manager.add_or_update(replace(EDS, content="2", lb_policy=Random()))
    assert manager.get("web") is cluster
    assert cluster.config.lb_policy == Random()
    assert cluster.choose() is endpoint
    assert cluster.breakers[0].active_requests == 3


def test_removed_endpoints_are_announced(manager: ClusterManager) -> None:
    announced: list[tuple[str, list[Endpoint]]] = []

    def note(cluster: Cluster, endpoints: list[Endpoint]) -> None:
        announced.append((cluster.name, endpoints))

    manager.on_endpoints_removed(note)
    manager.add_or_update(EDS)
    manager.update_assignment("web", assignment(1, 2))
    cluster = manager.get("web")
    assert cluster is not None
    first, second = cluster.endpoints.values()
    manager.update_assignment("web", assignment(2))
    assert announced == [("web", [first])]
    assert manager.remove("web")
    assert announced[1:] == [("web", [second])]


def test_removal_closes_the_stats(manager: ClusterManager, store: StatsStore) -> None:
    manager.add_or_update(EDS)
    manager.get("web")
    manager.remove("web")
    assert manager.get("web") is None
    assert not store.scopes()


def test_changes_of_configuration_are_announced(manager: ClusterManager) -> None:
    seen: list[tuple[str, ClusterConfig | None]] = []
    manager.on_config_changed(lambda name, config: seen.append((name, config)))
    manager.add_or_update(EDS)
    manager.add_or_update(EDS)
    manager.remove("web")
    assert seen == [("web", EDS), ("web", None)]
