"""Zone-aware routing: the shares that stay in the own zone, and when zones do not count."""

from __future__ import annotations

from collections import Counter
from random import Random as Source

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.host_set import HostSet
from isthmus_proxy.cluster.lb_policy import Random, RoundRobin, ZoneAware
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, Health, LocalityEndpoints
from isthmus_proxy.cluster.zone_aware import WHOLE, plan_zones
from isthmus_proxy.observe.stats import StatsStore

HERE = ("", "x", "")
ANY_SIZE = ZoneAware(min_cluster_size=1)


def hosts(**zones: int) -> HostSet:
    found = []
    for zone, count in zones.items():
        place = LocalityEndpoints((), zone=zone)
        found += [Endpoint(EndpointConfig("10.0.0.1", 100 * ord(zone) + number), place) for number in range(count)]
    return HostSet(found)


@pytest.mark.parametrize(
    ("proxies", "endpoints", "kept", "residual"),
    [
        ({"x": 1, "y": 1}, {"x": 3, "y": 3}, WHOLE, ()),  # as many here as elsewhere
        ({"x": 1, "y": 2}, {"x": 3, "y": 3}, WHOLE, ()),  # more than are needed
        ({"x": 2, "y": 1}, {"x": 2, "y": 4}, 5000, (0, 3333)),  # 3333 of 6666 ten-thousandths fit
        ({"x": 1, "y": 1}, {"y": 3, "z": 1}, 0, (2500, 5000)),  # none here: 75 % against 50 %, 25 % against none
        ({"x": 2, "y": 1, "z": 1}, {"x": 1, "y": 1, "z": 2}, 5000, (0, 0, 2500)),  # y has as much as it needs
    ],
)
def test_shares(
    proxies: dict[str, int], endpoints: dict[str, int], kept: int, residual: tuple[int, ...], store: StatsStore
) -> None:
    plan = plan_zones(ANY_SIZE, hosts(**proxies), HERE, hosts(**endpoints), store.scope("cluster.c"))
    assert plan is not None
    assert (plan.kept, plan.residual) == (kept, residual)


@pytest.mark.parametrize(
    ("policy", "proxies", "endpoints", "counter"),
    [
        (ANY_SIZE, {"x": 1, "y": 1}, {"x": 3}, ""),
        (ANY_SIZE, {"x": 2}, {"x": 3, "y": 3}, ""),
        (ANY_SIZE, {"y": 1, "z": 1}, {"x": 3, "y": 3}, "lb_local_cluster_not_ok"),
        (ZoneAware(), {"x": 1, "y": 1}, {"x": 2, "y": 3}, "lb_zone_cluster_too_small"),
    ],
)
def test_when_zones_do_not_count(
    policy: ZoneAware, proxies: dict[str, int], endpoints: dict[str, int], counter: str, store: StatsStore
) -> None:
    assert plan_zones(policy, hosts(**proxies), HERE, hosts(**endpoints), store.scope("cluster.c")) is None
    if counter:
        assert store.value(f"cluster.c.{counter}") == 1


COUNTS = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9), min_size=2)


@given(COUNTS, COUNTS)
def test_requests_only_go_where_there_are_endpoints(proxies: dict[str, int], endpoints: dict[str, int]) -> None:
    store, random = StatsStore(), Source(1)
    upstream = hosts(**endpoints)
    plan = plan_zones(ANY_SIZE, hosts(**proxies), HERE, upstream, store.scope("cluster.c"))
    assert (plan is None) == ("x" not in proxies)
    if plan is None:
        return
    groups = upstream.localities()
    chosen = Counter(groups[plan.choose(random.random, store.scope("cluster.c"))].name for _ in range(50))
    assert sum(chosen.values()) == 50
    if not plan.direct and plan.residual[-1]:
        better = {
            ("", zone, "")
            for zone, count in endpoints.items()
            if count / sum(endpoints.values()) > proxies.get(zone, 0) / sum(proxies.values())
        }
        assert set(chosen) <= better | {HERE}


def add(manager: ClusterManager, name: str, policy: RoundRobin | Random, **zones: tuple[Health, ...]) -> None:
    localities = []
    for zone, healths in zones.items():
        each = tuple(EndpointConfig("10.0.0.1", 100 * ord(zone) + n, health=h) for n, h in enumerate(healths))
        localities.append(LocalityEndpoints(each, zone=zone))
    manager.add_or_update(ClusterConfig(name, "EDS", lb_policy=policy))
    manager.update_assignment(name, Assignment(name, tuple(localities)))


WELL: tuple[Health, ...] = ("HEALTHY",)
SICK: tuple[Health, ...] = ("UNHEALTHY",)


def zones_of(manager: ClusterManager, name: str = "c") -> Counter[str]:
    cluster = manager.get(name)
    assert cluster is not None
    found = [cluster.choose() for _ in range(100)]
    return Counter(each.locality[1] if each is not None else "" for each in found)


def test_a_cluster_follows_changes_of_the_proxies_and_of_their_health(manager: ClusterManager) -> None:
    manager.route_by_zone("proxies", HERE)
    add(manager, "proxies", RoundRobin(), x=WELL, y=WELL)
    add(manager, "c", RoundRobin(zone_aware=ANY_SIZE), x=WELL * 2, y=WELL * 2)
    assert zones_of(manager) == {"x": 100}
    add(manager, "proxies", RoundRobin(), x=WELL, y=SICK * 3)
    assert 30 < zones_of(manager)["y"] < 70, "most proxies are unhealthy, so that nothing is known of them"
    add(manager, "proxies", RoundRobin(), x=WELL)
    assert 30 < zones_of(manager)["y"] < 70
    assert zones_of(manager, "proxies") == {"x": 100}


def test_nothing_is_sent_in_a_panic_of_the_proxies_where_that_is_asked_for(manager: ClusterManager) -> None:
    manager.route_by_zone("proxies", HERE)
    add(manager, "proxies", RoundRobin(), x=WELL, y=SICK * 3)
    add(manager, "c", Random(zone_aware=ZoneAware(100, 1, fail_traffic_on_panic=True)), x=WELL, y=WELL)
    assert zones_of(manager) == {"": 100}


def test_a_share_of_requests_disregards_zones(manager: ClusterManager) -> None:
    manager.route_by_zone("proxies", HERE)
    add(manager, "proxies", RoundRobin(), x=WELL, y=WELL)
    add(manager, "c", Random(zone_aware=ZoneAware(50, 1)), x=WELL, y=WELL)
    assert 60 < zones_of(manager)["x"] < 90
