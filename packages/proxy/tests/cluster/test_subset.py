"""Subsets. That choices are Envoy's is shown by ``integration/test_load_balancing.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.lb_policy import Maglev, RingHash, RoundRobin, Subset, SubsetSelector
from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, Health, LocalityEndpoints

MakeCluster = Callable[[ClusterConfig], Cluster]
STAGE = SubsetSelector(("stage",))
BOTH = SubsetSelector(("stage", "version"))


def at(port: int, health: Health = "UNKNOWN", **metadata: str) -> EndpointConfig:
    return EndpointConfig("10.0.0.1", port, health=health, metadata=tuple(sorted(metadata.items())))


def given_endpoints(cluster: Cluster, endpoints: Sequence[EndpointConfig]) -> None:
    cluster.update_assignment(Assignment("web", (LocalityEndpoints(tuple(endpoints)),)))


def chosen(cluster: Cluster, criteria: Criteria | None, picks: int = 40) -> set[int]:
    context = LoadBalancerContext(criteria=criteria)
    found = [cluster.choose(context) for _ in range(picks)]
    return {endpoint.address[1] for endpoint in found if endpoint is not None}


METADATA = st.dictionaries(st.sampled_from(["stage", "version"]), st.sampled_from(["a", "b"]))
ENDPOINTS = st.lists(METADATA, max_size=8).map(
    lambda rows: [at(port, "UNKNOWN", **metadata) for port, metadata in enumerate(rows, 1)]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(updates=st.lists(ENDPOINTS, min_size=1, max_size=4), version=st.sampled_from(["a", "b", "c"]))
def test_exactly_the_endpoints_that_fit_are_chosen(
    make_cluster: MakeCluster, updates: list[list[EndpointConfig]], version: str
) -> None:
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=Subset(selectors=(STAGE, BOTH))))
    for endpoints in updates:
        given_endpoints(cluster, endpoints)
        for wanted in ({"stage": "a"}, {"stage": "b", "version": version}):
            fit = {e.port for e in endpoints if wanted.items() <= dict(e.metadata).items()}
            assert chosen(cluster, tuple(sorted(wanted.items()))) == fit
        assert chosen(cluster, (("version", "a"),)) == set()  # no selector has this key alone


def test_healthy_endpoints_of_a_subset_come_first_and_its_panic_is_its_own(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=Subset(selectors=(STAGE,))))
    sick: Health = "UNHEALTHY"
    given_endpoints(cluster, [at(1, stage="a"), at(2, sick, stage="a"), at(3, sick, stage="b"), at(4, stage="c")])
    assert chosen(cluster, (("stage", "a"),)) == {1}
    assert chosen(cluster, (("stage", "b"),)) == {3}
    assert cluster.stats.lb_healthy_panic.value == 40


def test_fallback_of_a_selector_with_fewer_keys(make_cluster: MakeCluster) -> None:
    fewer = SubsetSelector(("stage", "version"), fallback_policy="KEYS_SUBSET", fallback_keys=("stage",))
    policy = Subset(selectors=(STAGE, fewer), fallback_policy="ANY_ENDPOINT")
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=policy))
    given_endpoints(cluster, [at(1, stage="a", version="1"), at(2, stage="b")])
    assert chosen(cluster, (("stage", "a"), ("version", "9"))) == {1}
    assert chosen(cluster, (("stage", "c"), ("version", "9"))) == {1, 2}
    assert chosen(cluster, None) == {1, 2}


@pytest.mark.parametrize("inner", [RoundRobin(), RingHash(64), Maglev(101)])
def test_a_change_elsewhere_keeps_what_was_built_of_a_subset(
    make_cluster: MakeCluster, inner: RoundRobin | RingHash | Maglev
) -> None:
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=Subset(inner, selectors=(STAGE,))))
    endpoints = [at(port, stage="a" if port % 2 else "b") for port in range(1, 9)]
    given_endpoints(cluster, endpoints)
    built = _made(cluster, "a"), _made(cluster, "b")
    given_endpoints(cluster, [*endpoints, at(10, stage="b")])
    kept, changed = _made(cluster, "a"), _made(cluster, "b")
    assert kept is built[0]
    assert changed is not built[1]


def _made(cluster: Cluster, stage: str) -> object:
    """What the load balancer of a subset has built, for identity's sake."""
    assert cluster.choose(LoadBalancerContext(criteria=(("stage", stage),), hash_key=1)) is not None
    partition = cluster._balancer._partitions[("stage",)]  # type: ignore[attr-defined]
    balancer = partition.balanced((stage,)).balancer
    return next(iter(balancer._priorities.host_sets[0].made.values()))


def test_stats_count_how_choices_were_made(make_cluster: MakeCluster) -> None:
    policy = Subset(selectors=(STAGE,), fallback_policy="ANY_ENDPOINT")
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=policy))
    given_endpoints(cluster, [at(1, stage="a"), at(2, stage="b")])
    chosen(cluster, (("stage", "a"),), 3)
    chosen(cluster, (("stage", "x"),), 2)
    scope = cluster.stats.scope
    counts = [scope.counter(f"lb_subsets_{name}").value for name in ("selected", "fallback", "created")]
    assert counts == [3, 2, 1]
    given_endpoints(cluster, [at(2, stage="b")])
    chosen(cluster, (("stage", "a"),), 1)
    assert scope.counter("lb_subsets_removed").value == 1
    assert scope.gauge("lb_subsets_active").value == 1
