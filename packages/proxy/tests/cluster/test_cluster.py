from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.lb_policy import ROUND_ROBIN, LbPolicy, LeastRequest, Maglev, Random, RingHash
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, Health, LocalityEndpoints

MakeCluster = Callable[[ClusterConfig], Cluster]
CONFIG = ClusterConfig("web", "EDS")


def assignment(*endpoints: EndpointConfig, priority: int = 0) -> Assignment:
    return Assignment("web", (LocalityEndpoints(tuple(endpoints), priority=priority),))


def at(port: int, health: Health = "UNKNOWN", weight: int = 1) -> EndpointConfig:
    return EndpointConfig("10.0.0.1", port, weight=weight, health=health)


def spread(cluster: Cluster, picks: int = 200) -> Counter[int]:
    chosen = (cluster.choose() for _ in range(picks))
    return Counter(endpoint.address[1] for endpoint in chosen if endpoint is not None)


def test_a_cluster_without_endpoints_chooses_none(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    assert cluster.choose() is None
    assert cluster.stats.upstream_cx_none_healthy.value == 1


def test_unhealthy_and_draining_endpoints_get_nothing(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    cluster.update_assignment(assignment(at(1), at(2), at(3, "UNHEALTHY"), at(4, "DRAINING"), at(5, "HEALTHY")))
    assert spread(cluster, 30) == {1: 10, 2: 10, 5: 10}
    assert cluster.stats.membership_total.value == 5
    assert cluster.stats.membership_healthy.value == 3
    assert cluster.stats.membership_excluded.value == 1


def test_when_all_are_unhealthy_all_are_used(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    cluster.update_assignment(assignment(at(1, "UNHEALTHY"), at(2, "TIMEOUT")))
    assert spread(cluster, 10) == {1: 5, 2: 5}
    assert cluster.stats.lb_healthy_panic.value == 10


def test_without_panic_there_is_no_endpoint_then(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(ClusterConfig("web", "EDS", healthy_panic_threshold=0.0))
    cluster.update_assignment(assignment(at(1, "UNHEALTHY")))
    assert cluster.choose() is None


def test_degraded_endpoints_get_what_is_left(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    cluster.update_assignment(assignment(at(1), at(2, "DEGRADED")))
    counts = spread(cluster, 2000)
    assert 1300 < counts[1] < 1500  # 70 %


def test_a_lower_priority_serves_when_the_higher_is_down(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    down = LocalityEndpoints((at(1, "UNHEALTHY"),))
    cluster.update_assignment(Assignment("web", (down, LocalityEndpoints((at(2),), priority=1))))
    assert spread(cluster, 20) == {2: 20}


def test_an_update_keeps_the_endpoint_of_the_same_address(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    cluster.update_assignment(assignment(at(1), at(2)))
    kept, gone = cluster.endpoints["10.0.0.1", 1], cluster.endpoints["10.0.0.1", 2]
    kept.rq_total, kept.pool = 7, object()
    assert cluster.update_assignment(assignment(at(1, "DEGRADED", weight=5), at(3))) == [gone]
    assert cluster.endpoints["10.0.0.1", 1] is kept
    assert (kept.rq_total, kept.weight, kept.health, kept.removed) == (7, 5, "DEGRADED", False)
    assert gone.removed


def test_an_address_named_twice_counts_once(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    cluster.update_assignment(assignment(at(1), at(1), at(2)))
    assert spread(cluster, 10) == {1: 5, 2: 5}


def test_a_retry_avoids_the_endpoints_before(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=Random()))
    cluster.update_assignment(assignment(at(1), at(2)))
    first = cluster.endpoints["10.0.0.1", 1]
    context = LoadBalancerContext((first,), attempts=50)
    assert all(cluster.choose(context) is not first for _ in range(50))


def test_a_retry_takes_a_tried_endpoint_rather_than_none(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(CONFIG)
    cluster.update_assignment(assignment(at(1)))
    only = cluster.endpoints["10.0.0.1", 1]
    assert cluster.choose(LoadBalancerContext((only,), attempts=3)) is only


HEALTH: list[Health] = ["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]
ENDPOINTS = st.lists(
    st.builds(at, st.integers(1, 6), st.sampled_from(HEALTH), st.integers(1, 3)), max_size=8, unique_by=lambda e: e.port
)


@pytest.mark.parametrize("policy", [ROUND_ROBIN, LeastRequest(), Random(), RingHash(20), Maglev(101)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(updates=st.lists(ENDPOINTS, min_size=1, max_size=6))
def test_any_sequence_of_updates_keeps_identity_and_loses_no_endpoint(
    make_cluster: MakeCluster, policy: LbPolicy, updates: list[list[EndpointConfig]]
) -> None:
    cluster = make_cluster(ClusterConfig("web", "EDS", lb_policy=policy))
    for endpoints in updates:
        before = dict(cluster.endpoints)
        gone = cluster.update_assignment(assignment(*endpoints))
        after = cluster.endpoints
        assert {address[1] for address in after} == {each.port for each in endpoints}
        assert all(after[address] is endpoint for address, endpoint in before.items() if address in after)
        assert set(gone) == {endpoint for address, endpoint in before.items() if address not in after}
        assert all(endpoint.removed for endpoint in gone)
        assert not any(endpoint.removed for endpoint in after.values())
        chosen = {cluster.choose() for _ in range(3)}
        # Degraded endpoints are on no ring, as in Envoy.
        hashing = isinstance(policy, RingHash | Maglev) and any(each.health == "DEGRADED" for each in endpoints)
        assert chosen - ({None} if hashing else set()) <= set(after.values()) if endpoints else chosen == {None}
