"""What load reports say of clusters whose counters move."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.cluster.model import Assignment, ClusterConfig, EndpointConfig, LocalityEndpoints
from isthmus_proxy.observe import load_book
from isthmus_proxy.observe.load_book import LoadBook
from isthmus_proxy.observe.stats import StatsStore


def manager() -> ClusterManager:
    store = StatsStore()
    return ClusterManager(lambda name: store.scope(f"cluster.{name}"), Random(1).random, lambda: 0.0)


def assignment(*ports: int, zone: str = "", priority: int = 0) -> LocalityEndpoints:
    endpoints = tuple(EndpointConfig("10.0.0.1", port) for port in ports)
    return LocalityEndpoints(endpoints, zone=zone, priority=priority)


def cluster(clusters: ClusterManager, *groups: LocalityEndpoints, name: str = "web") -> Cluster:
    clusters.add_or_update(ClusterConfig(name, "EDS", eds_service_name="eds-name"))
    clusters.update_assignment(name, Assignment(name, groups))
    found = clusters.get(name)
    assert found is not None
    return found


def count(of: Cluster, port: int, *, success: int = 0, error: int = 0, issued: int = 0, active: int = 0) -> None:
    endpoint = of.endpoints["10.0.0.1", port]
    endpoint.rq_success += success
    endpoint.rq_error += error
    endpoint.rq_total += issued
    endpoint.rq_active += active


def totals(place: Any) -> tuple[int, int, int, int]:
    return (
        place.total_successful_requests,
        place.total_error_requests,
        place.total_issued_requests,
        place.total_requests_in_progress,
    )


def test_localities_and_priorities_are_apart_and_what_is_idle_is_left_out() -> None:
    clusters = manager()
    web = cluster(clusters, assignment(1, 2, zone="a"), assignment(3, zone="b"), assignment(4, zone="a", priority=1))
    book = LoadBook(clusters)
    book.track(["web"], 10.0)
    count(web, 1, success=2, error=1, issued=4, active=1)
    count(web, 2, success=5, issued=5)
    count(web, 4, error=1)
    [stats] = book.report(12.5, by_endpoint=True)
    assert (stats.cluster_name, stats.cluster_service_name) == ("web", "eds-name")
    assert stats.load_report_interval.ToMilliseconds() == 2500
    first, second = stats.upstream_locality_stats
    assert (first.locality.zone, first.priority, totals(first)) == ("a", 0, (7, 1, 9, 1))
    assert (second.locality.zone, second.priority, totals(second)) == ("a", 1, (0, 1, 0, 0))
    addresses = [each.address.socket_address for each in first.upstream_endpoint_stats]
    assert [(each.address, each.port_value) for each in addresses] == [("10.0.0.1", 1), ("10.0.0.1", 2)]
    assert [totals(each) for each in first.upstream_endpoint_stats] == [(2, 1, 4, 1), (5, 0, 5, 0)]
    [stats] = book.report(13.0, by_endpoint=False)
    [place] = stats.upstream_locality_stats
    assert totals(place) == (0, 0, 0, 1), "only what is in progress still"
    assert not place.upstream_endpoint_stats


def test_what_was_before_is_not_told_and_a_second_order_loses_nothing() -> None:
    clusters = manager()
    web = cluster(clusters, assignment(1))
    count(web, 1, success=100, issued=100)
    web.stats.upstream_rq_pending_overflow.value = 7
    book = LoadBook(clusters)
    assert book.report(0.0, by_endpoint=True) == []
    book.track(["web", "unknown"], 1.0)
    count(web, 1, success=1, issued=1)
    web.stats.upstream_rq_active_overflow.value = 2
    book.track(["web"], 2.0)
    [stats] = book.report(3.0, by_endpoint=True)
    assert totals(stats.upstream_locality_stats[0]) == (1, 0, 1, 0)
    assert stats.total_dropped_requests == 2
    assert stats.load_report_interval.ToSeconds() == 2
    assert book.report(3.5, by_endpoint=True)[0].total_dropped_requests == 0
    book.track([], 4.0)
    assert book.report(5.0, by_endpoint=True) == []


def test_all_clusters_are_those_in_use_and_a_new_one_is_told_from_its_first_request() -> None:
    clusters = manager()
    clusters.add_or_update(ClusterConfig("unused", "EDS"))
    book = LoadBook(clusters)
    book.track(None, 1.0)
    assert book.report(2.0, by_endpoint=True) == []
    web = cluster(clusters, assignment(1))
    count(web, 1, success=3, issued=3)
    [stats] = book.report(4.0, by_endpoint=True)
    assert (totals(stats.upstream_locality_stats[0]), stats.load_report_interval.ToSeconds()) == ((3, 0, 3, 0), 2)
    clusters.remove("web")
    assert book.report(5.0, by_endpoint=True) == []


def test_a_named_cluster_is_reported_though_nothing_uses_it_as_long_as_it_exists() -> None:
    clusters = manager()
    clusters.add_or_update(ClusterConfig("quiet", "EDS"))
    book = LoadBook(clusters)
    book.track(["quiet"], 0.0)
    [stats] = book.report(1.0, by_endpoint=True)
    assert (stats.cluster_name, len(stats.upstream_locality_stats)) == ("quiet", 0)
    web = cluster(clusters, assignment(1), name="quiet")
    count(web, 1, success=4)
    assert totals(book.report(2.0, by_endpoint=True)[0].upstream_locality_stats[0]) == (4, 0, 0, 0)
    clusters.remove("quiet")
    again = cluster(clusters, assignment(1), name="quiet")
    count(again, 1, success=1)
    assert totals(book.report(3.0, by_endpoint=True)[0].upstream_locality_stats[0]) == (1, 0, 0, 0)


def test_an_endpoint_that_left_is_told_of_until_its_last_request_has_ended() -> None:
    clusters = manager()
    web = cluster(clusters, assignment(1, 2))
    book = LoadBook(clusters)
    book.track(None, 0.0)
    count(web, 1, success=1, issued=2, active=1)
    left = web.endpoints["10.0.0.1", 1]
    clusters.update_assignment("web", Assignment("web", (assignment(2),)))
    assert totals(book.report(1.0, by_endpoint=True)[0].upstream_locality_stats[0]) == (1, 0, 2, 1)
    left.rq_active, left.rq_error = 0, 1
    assert totals(book.report(2.0, by_endpoint=True)[0].upstream_locality_stats[0]) == (0, 1, 0, 0)
    assert not book.report(3.0, by_endpoint=True)[0].upstream_locality_stats
    assert book.left_out == 0


def test_endpoints_that_left_are_bounded() -> None:
    clusters = manager()
    cluster(clusters, assignment(*range(1, load_book.MAX_LEFT + 6)))
    book = LoadBook(clusters)
    book.track(None, 0.0)
    clusters.update_assignment("web", Assignment("web"))
    assert book.left_out == 5


STEPS = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from(["success", "error", "issued", "report", "leave", "again"])),
    max_size=60,
)


@given(STEPS, st.booleans())
def test_reports_add_up_to_what_was_counted(steps: list[tuple[int, str]], all_clusters: bool) -> None:
    clusters = manager()
    web = cluster(clusters, assignment(1, 2, 3))
    book = LoadBook(clusters)
    book.track(None if all_clusters else ["web"], 0.0)
    counted, told, now = [0, 0, 0], [0, 0, 0], 0.0
    here = {1, 2, 3}
    for port, step in [*steps, (1, "report")]:
        now += 1.0
        if step == "report":
            for stats in book.report(now, by_endpoint=True):
                for place in stats.upstream_locality_stats:
                    told = [before + more for before, more in zip(told, totals(place), strict=False)]
        elif step in ("leave", "again"):
            here = here - {port} if step == "leave" else here | {port}
            clusters.update_assignment("web", Assignment("web", (assignment(*sorted(here)),)))
        elif port in here:
            count(web, port, **{step: 1})
            counted[("success", "error", "issued").index(step)] += 1
    assert told == counted


@pytest.mark.parametrize("by_endpoint", [True, False])
def test_addresses_are_only_told_to_who_asks(by_endpoint: bool) -> None:
    clusters = manager()
    book = LoadBook(clusters)
    book.track(None, 0.0)
    count(cluster(clusters, assignment(1)), 1, success=1)
    [stats] = book.report(1.0, by_endpoint=by_endpoint)
    assert bool(stats.upstream_locality_stats[0].upstream_endpoint_stats) is by_endpoint
