from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.lb_policy import LbPolicy, LeastRequest, Maglev, Random, RingHash, RoundRobin, ZoneAware
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, Health, LocalityEndpoints

MakeCluster = Callable[[ClusterConfig], Cluster]
POLICIES: list[LbPolicy] = [
    RoundRobin(),
    LeastRequest(),
    LeastRequest(full_scan=True),
    Random(),
    RingHash(64),
    Maglev(101),
]


def at(port: int, health: Health = "UNKNOWN", weight: int = 1) -> EndpointConfig:
    return EndpointConfig("10.0.0.1", port, weight=weight, health=health)


def cluster_of(make_cluster: MakeCluster, policy: LbPolicy, *localities: LocalityEndpoints) -> Cluster:
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=policy))
    cluster.update_assignment(Assignment("web", localities))
    return cluster


def spread(cluster: Cluster, picks: int) -> Counter[int]:
    found = [cluster.choose() for _ in range(picks)]
    return Counter(endpoint.address[1] if endpoint is not None else 0 for endpoint in found)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(healthy=st.integers(1, 6), sick=st.integers(0, 6), weights=st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_every_healthy_endpoint_is_reached_and_no_other_outside_panic(
    make_cluster: MakeCluster, policy: LbPolicy, healthy: int, sick: int, weights: list[int]
) -> None:
    well = [at(port, weight=weights[port]) for port in range(1, healthy + 1)]
    ill = [at(100 + number, "UNHEALTHY") for number in range(sick)]
    cluster = cluster_of(make_cluster, policy, LocalityEndpoints((*well, *ill)))
    reached = set(spread(cluster, 400))
    in_panic = healthy < (healthy + sick) * 0.5 and 140 * healthy // (healthy + sick) < 100
    assert reached == {*range(1, healthy + 1), *(range(100, 100 + sick) if in_panic else ())}


def test_localities_share_by_weight_and_health(make_cluster: MakeCluster) -> None:
    north = LocalityEndpoints((at(1), at(2, "UNHEALTHY"), at(3, "UNHEALTHY")), zone="n", weight=3)
    south = LocalityEndpoints((at(4), at(5), at(6)), zone="s", weight=2)
    cluster = cluster_of(make_cluster, RoundRobin(locality_weighted=True), north, south)
    counts = spread(cluster, 1700)
    # North can carry 140 % of a third: 3 * 0.4667 to 2.
    assert counts[1] == pytest.approx(1700 * 1.4 / 3.4, abs=5)
    assert counts[2] == counts[3] == 0
    assert counts[4] == pytest.approx(counts[5], abs=3)


def test_localities_without_weight_get_nothing_unless_none_has_one(make_cluster: MakeCluster) -> None:
    some = LocalityEndpoints((at(1),), zone="a", weight=1)
    none = LocalityEndpoints((at(2),), zone="b")
    assert set(spread(cluster_of(make_cluster, Random(locality_weighted=True), some, none), 50)) == {1}
    alone = replace(some, weight=0)
    assert set(spread(cluster_of(make_cluster, Random(locality_weighted=True), alone, none), 50)) == {1, 2}
    assert set(spread(cluster_of(make_cluster, RingHash(locality_weighted=True), alone, none), 50)) == {0}


def test_traffic_fails_in_panic_where_that_is_asked_for(make_cluster: MakeCluster) -> None:
    policy = RoundRobin(zone_aware=ZoneAware(fail_traffic_on_panic=True))
    cluster = cluster_of(make_cluster, policy, LocalityEndpoints((at(1, "UNHEALTHY"),)))
    assert spread(cluster, 3) == {0: 3}
    assert cluster.stats.lb_healthy_panic.value == 3


@given(keys=st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_hash_key_decides_priority_and_endpoint(make_cluster: MakeCluster, keys: list[int]) -> None:
    first = LocalityEndpoints((at(1), at(2, "UNHEALTHY")))
    second = LocalityEndpoints((at(3), at(4)), priority=1)
    cluster = cluster_of(make_cluster, Maglev(101), first, second)
    for key in keys:
        endpoint = cluster.choose(LoadBalancerContext(hash_key=key))
        assert endpoint is cluster.choose(LoadBalancerContext(hash_key=key))
        assert endpoint is not None
        assert endpoint.priority == (0 if key % 100 < 70 else 1)  # 140 % of one half


def test_a_retry_by_hash_goes_on_along_the_ring(make_cluster: MakeCluster) -> None:
    cluster = cluster_of(make_cluster, RingHash(64), LocalityEndpoints((at(1), at(2), at(3))))
    first = cluster.choose(LoadBalancerContext(hash_key=7))
    assert first is not None
    again = cluster.choose(LoadBalancerContext((first,), attempts=60, hash_key=7))
    assert again is not first


def test_a_change_of_one_priority_keeps_the_tables_of_others(make_cluster: MakeCluster) -> None:
    low = LocalityEndpoints((at(3), at(4)), priority=1)
    cluster = cluster_of(make_cluster, RingHash(64), LocalityEndpoints((at(1),)), low)
    keys = [LoadBalancerContext(hash_key=key) for key in range(200)]
    for context in keys:
        cluster.choose(context)
    before = cluster._balancer._priorities.host_sets  # type: ignore[attr-defined]
    cluster.update_assignment(Assignment("web", (LocalityEndpoints((at(1), at(2))), low)))
    cluster.choose()
    after = cluster._balancer._priorities.host_sets  # type: ignore[attr-defined]
    assert (after[0] is before[0], after[1] is before[1]) == (False, True)
    cluster.update_assignment(
        Assignment("web", (LocalityEndpoints((at(1), at(2))), replace(low, endpoints=(at(3), at(4, weight=2)))))
    )
    cluster.choose()
    last = cluster._balancer._priorities.host_sets  # type: ignore[attr-defined]
    assert (last[0] is after[0], last[1] is after[1]) == (True, False)


def test_a_new_policy_takes_over_with_the_next_request(make_cluster: MakeCluster) -> None:
    cluster = cluster_of(make_cluster, RoundRobin(), LocalityEndpoints((at(1), at(2))))
    assert spread(cluster, 10) == {1: 5, 2: 5}
    cluster.update_config(replace(cluster.config, lb_policy=Maglev(101)))
    assert len({cluster.choose(LoadBalancerContext(hash_key=5)) for _ in range(10)}) == 1
