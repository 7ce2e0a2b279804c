"""Load reports over the last minutes: what counts for which time, and at the bounds."""

from __future__ import annotations

from typing import Any

from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.telemetry.load_window import WINDOW_S, EndpointLoad, LoadWindow, Place, host_of

CLUSTER = "outbound|80||web.shop"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def report(
    *endpoints: tuple[str, int, int], cluster: str = CLUSTER, interval: float = 10.0, zone: str = "", priority: int = 0
) -> Any:
    """One report: (host, succeeded, failed) each."""
    stats: Any = ClusterStats(cluster_name=cluster)
    stats.load_report_interval.FromNanoseconds(int(interval * 1e9))
    locality = stats.upstream_locality_stats.add(priority=priority)
    locality.locality.zone = zone
    for host, succeeded, failed in endpoints:
        endpoint = locality.upstream_endpoint_stats.add(
            total_successful_requests=succeeded, total_error_requests=failed, total_issued_requests=succeeded + failed
        )
        endpoint.address.socket_address.address, endpoint.address.socket_address.port_value = host, 80
    locality.total_successful_requests = sum(each[1] for each in endpoints)
    locality.total_issued_requests = sum(each[1] + each[2] for each in endpoints)
    locality.total_error_requests = sum(each[2] for each in endpoints)
    return stats


def every(_: str) -> bool:
    return True


def test_nodes_localities_and_addresses_are_apart() -> None:
    window = LoadWindow(Clock())
    window.add("a", report(("10.0.0.1", 3, 1), ("::1", 2, 0), zone="z", priority=1))
    window.add("b", report(("10.0.0.1", 5, 0), zone="z", priority=1))
    window.add("a", report(("10.0.0.1", 1, 1), zone="z", priority=1))
    z = ("", "z", "")
    assert window.sums(every) == {
        Place(CLUSTER, 1, z, "10.0.0.1:80", "a"): EndpointLoad(6, 4, 2, 2),
        Place(CLUSTER, 1, z, "10.0.0.1:80", "b"): EndpointLoad(5, 5, 0, 1),
        Place(CLUSTER, 1, z, "[::1]:80", "a"): EndpointLoad(2, 2, 0, 1),
    }
    assert not window.sums(lambda name: host_of(name) == "other.shop")
    assert len(window.sums(lambda name: host_of(name) == "web.shop")) == 3


def test_a_locality_that_does_not_tell_endpoints_apart_is_one_place() -> None:
    window = LoadWindow(Clock())
    stats = report(("10.0.0.1", 3, 1), zone="z")
    del stats.upstream_locality_stats[0].upstream_endpoint_stats[:]
    window.add("a", stats)
    assert window.sums(every) == {Place(CLUSTER, 0, ("", "z", ""), "", "a"): EndpointLoad(4, 3, 1, 1)}


def test_only_what_began_within_the_time_asked_for_counts() -> None:
    clock = Clock()
    window = LoadWindow(clock)
    window.add("a", report(("10.0.0.1", 1, 0)))
    clock.now += 10
    window.add("a", report(("10.0.0.1", 0, 2)))
    clock.now += 1

    def failed(seconds: float) -> int:
        return sum(load.failed for load in window.sums(every, seconds).values())

    def succeeded(seconds: float) -> int:
        return sum(load.succeeded for load in window.sums(every, seconds).values())

    assert (succeeded(21), failed(21)) == (1, 2)
    assert (succeeded(20), failed(20)) == (0, 2), "the first report is in part of the time before"
    assert (succeeded(10), failed(10)) == (0, 0)


def test_what_is_old_leaves() -> None:
    clock = Clock()
    window = LoadWindow(clock)
    window.add("a", report(("10.0.0.1", 1, 0)))
    clock.now += WINDOW_S
    assert len(window) == 1
    clock.now += 1
    assert window.sums(every) == {}
    assert (len(window), window.dropped) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=40), st.integers(1, 8))
def test_samples_are_bounded_and_the_latest_are_kept(reports: list[tuple[str, float]], most: int) -> None:
    clock = Clock()
    window = LoadWindow(clock, most)
    kept: list[tuple[float, str]] = []
    dropped = 0
    for cluster, pause in reports:
        clock.now += pause
        kept = [each for each in kept if each[0] >= clock.now - WINDOW_S]
        if len(kept) == most:
            kept = kept[1:]
            dropped += 1
        kept.append((clock.now, cluster))
        window.add("n", report(("10.0.0.1", 1, 0), cluster=cluster, interval=0))
    sums = window.sums(every)
    assert {place.cluster: load.reports for place, load in sums.items()} == {
        cluster: sum(each == cluster for _, each in kept) for cluster in {each for _, each in kept}
    }
    assert (len(window), window.dropped) == (len(kept), dropped)


def test_hosts_stand_in_names_of_outbound_clusters_only() -> None:
    assert host_of("outbound|80|v1|web.shop") == "web.shop"
    assert host_of("inbound|80||web.shop") == ""
    assert host_of("xds") == ""
