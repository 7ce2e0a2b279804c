"""Ejection and return, step by step and under any sequence of events. Time is a number that the tests move."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.flags import FAILED_ACTIVE_HC, FAILED_OUTLIER_CHECK
from isthmus_proxy.cluster.model import EndpointConfig, LocalityEndpoints
from isthmus_proxy.cluster.outlier.detector import Detector, Threshold, ejection_threshold
from isthmus_proxy.cluster.outlier.event_log import JsonOutlierEventLog
from isthmus_proxy.cluster.outlier.model import DEFAULT_ENFORCING, Kind, OutlierDetectionConfig
from isthmus_proxy.cluster.outlier.monitor import OutlierMonitor
from isthmus_proxy.cluster.outlier.stats import OutlierStats
from isthmus_proxy.observe.stats import StatsStore


class Bench:
    """A detector with ``hosts`` endpoints, a clock and a log."""

    def __init__(self, hosts: int = 2, random: Callable[[], float] = lambda: 0.5, **options: object) -> None:
        self.now = 1000.0
        self.store = StatsStore()
        self.lines: list[dict[str, object]] = []
        self.changes = 0
        self.endpoints = [
            Endpoint(EndpointConfig("10.0.0.1", port), LocalityEndpoints(())) for port in range(1, hosts + 1)
        ]
        config = OutlierDetectionConfig(**{"max_ejection_percent": 100, **options})  # type: ignore[arg-type]
        self.detector = Detector(
            "web",
            config,
            OutlierStats(self.store.scope("cluster.web")),
            lambda: self.now,
            random,
            self.changed,
            JsonOutlierEventLog(lambda line: self.lines.append(json.loads(line)), lambda: "2026-01-01T00:00:00.000Z"),
        )
        self.detector.members_changed(self.endpoints, ())

    def changed(self) -> None:
        self.changes += 1

    def monitor(self, index: int = 0) -> OutlierMonitor:
        return self.detector.monitors[self.endpoints[index]]

    def out(self, index: int = 0) -> bool:
        return bool(self.endpoints[index].flags & FAILED_OUTLIER_CHECK)

    def stat(self, name: str) -> int | None:
        return self.store.value(f"cluster.web.outlier_detection.ejections_{name}")

    def answers(self, *statuses: int, index: int = 0) -> None:
        for status in statuses:
            self.monitor(index).responded(status)

    def tick(self, after: float = 10.0) -> None:
        self.now += after
        self.detector.tick()


def test_the_fifth_5xx_in_a_row_ejects_and_the_term_ends_it_on_a_tick() -> None:
    bench = Bench()
    bench.answers(500, 500, 500, 500)
    assert not bench.out()
    bench.answers(500)
    assert bench.out()
    assert (bench.stat("active"), bench.stat("enforced_total"), bench.stat("enforced_consecutive_5xx")) == (1, 1, 1)
    assert (bench.stat("total"), bench.stat("consecutive_5xx"), bench.stat("detected_consecutive_5xx")) == (1, 1, 1)
    bench.tick(29.9)
    assert bench.out()
    bench.tick(0.1)
    assert not bench.out()
    assert bench.stat("active") == 0
    assert bench.changes == 2
    assert [line["action"] for line in bench.lines] == ["EJECT", "UNEJECT"]


def test_a_success_between_begins_the_count_anew() -> None:
    bench = Bench()
    bench.answers(500, 500, 500, 500, 200, 500, 500, 500, 500)
    assert not bench.out()


def test_every_ejection_lasts_longer_up_to_the_maximum_and_good_intervals_shorten_it() -> None:
    bench = Bench(base_ejection_time=30.0, max_ejection_time=50.0, interval=10.0)
    terms = []
    for _ in range(4):
        bench.answers(*[503] * 5)
        term = 0.0
        while bench.out():
            bench.tick(10.0)
            term += 10.0
        terms.append(term)
    assert terms == [30.0, 50.0, 50.0, 50.0]
    # 30 s x n stays below max + base = 80 s only up to n = 3.
    assert bench.monitor().backoff == 3
    for left in (2, 1, 0, 0):
        bench.tick(10.0)
        assert bench.monitor().backoff == left


def test_gateway_failures_are_only_detected_by_default() -> None:
    bench = Bench(consecutive_5xx=0)
    bench.answers(502, 503, 504, 502, 503)
    assert not bench.out()
    assert bench.stat("detected_consecutive_gateway_failure") == 1
    assert bench.lines[0]["enforced"] is False
    bench.answers(502, 502, 502, 502, 500, 502)
    assert bench.stat("detected_consecutive_gateway_failure") == 1


def test_gateway_failures_eject_when_enforced() -> None:
    bench = Bench(consecutive_5xx=0, enforcing={**DEFAULT_ENFORCING, Kind.CONSECUTIVE_GATEWAY_FAILURE: 100})
    bench.answers(502, 503, 504, 502, 503)
    assert bench.out()


def test_local_origin_failures_count_apart_only_when_split() -> None:
    together, split = Bench(), Bench(split_external_local_origin_errors=True)
    for bench in (together, split):
        for _ in range(5):
            bench.monitor().failed(503)
        assert bench.out()
    assert together.stat("enforced_consecutive_5xx") == 1
    assert split.stat("enforced_consecutive_local_origin_failure") == 1
    assert split.stat("detected_consecutive_5xx") == 0


def test_a_connection_ends_a_row_of_local_origin_failures() -> None:
    bench = Bench(split_external_local_origin_errors=True)
    for _ in range(3):
        for _ in range(4):
            bench.monitor().failed(504)
        bench.monitor().connected()
    assert not bench.out()


@pytest.mark.parametrize(
    ("hosts", "percent", "always", "expected"),
    [(2, 10, False, 0), (10, 10, False, 1), (2, 10, True, 1), (4, 50, False, 2), (4, 100, False, 4), (3, 66, False, 1)],
)
def test_no_more_are_ejected_than_allowed(hosts: int, percent: int, always: bool, expected: int) -> None:
    bench = Bench(hosts, max_ejection_percent=percent, always_eject_one_host=always)
    for index in range(hosts):
        bench.answers(*[500] * 5, index=index)
    assert sum(bench.out(index) for index in range(hosts)) == expected
    assert bench.stat("overflow") == hosts - expected


def test_success_rate_ejects_the_outlier_of_the_last_interval() -> None:
    bench = Bench(5, consecutive_5xx=0)
    for index in range(5):
        bench.answers(*[500] * (50 if index == 0 else 0), *[200] * (50 if index == 0 else 100), index=index)
    bench.tick()
    assert [bench.out(index) for index in range(5)] == [True, False, False, False, False]
    assert bench.detector.thresholds["external"] == Threshold(90.0, 52.0)
    assert bench.lines[0]["eject_success_rate_event"] == {
        "host_success_rate": 50,
        "cluster_average_success_rate": 90,
        "cluster_success_rate_ejection_threshold": 52,
    }
    assert bench.monitor(1).success_rate == 100.0
    bench.tick()
    assert bench.monitor(1).success_rate == -1.0


@pytest.mark.parametrize(("hosts", "volume"), [(4, 100), (5, 99)])
def test_too_few_hosts_or_requests_give_no_success_rate(hosts: int, volume: int) -> None:
    bench = Bench(hosts, consecutive_5xx=0)
    for index in range(hosts):
        bench.answers(*[500 if index == 0 else 200] * volume, index=index)
    bench.tick()
    assert not any(bench.out(index) for index in range(hosts))


def test_failure_percentage() -> None:
    enforcing = {**DEFAULT_ENFORCING, Kind.FAILURE_PERCENTAGE: 100, Kind.SUCCESS_RATE: 0}
    bench = Bench(5, consecutive_5xx=0, enforcing=enforcing)
    for index in range(5):
        bench.answers(*[500] * (43 if index < 2 else 42), *[200] * (7 if index < 2 else 8), index=index)
    bench.tick()
    assert [bench.out(index) for index in range(5)] == [True, True, False, False, False]
    assert bench.stat("enforced_failure_percentage") == 2


def test_a_passed_active_check_takes_back_unless_forbidden_or_the_check_failed() -> None:
    for option, failed, expected in ((True, 0, False), (False, 0, True), (True, FAILED_ACTIVE_HC, True)):
        bench = Bench(successful_active_health_check_uneject_host=option)
        bench.answers(*[500] * 5)
        bench.endpoints[0].flags |= failed
        bench.detector.check_passed(bench.endpoints[0])
        assert bench.out() is expected


def test_enforcing_is_a_chance() -> None:
    draws = iter([0.3, 0.9, 0.29, 0.9])
    bench = Bench(random=lambda: next(draws), enforcing={**DEFAULT_ENFORCING, Kind.CONSECUTIVE_5XX: 30})
    bench.answers(*[500] * 5)
    assert not bench.out()
    bench.answers(*[500] * 5)
    assert not bench.out()
    bench.answers(*[500] * 5)
    assert bench.out()


def test_an_endpoint_that_leaves_is_no_longer_counted_as_ejected() -> None:
    bench = Bench()
    bench.answers(*[500] * 5)
    bench.detector.members_changed((), [bench.endpoints[0]])
    assert bench.stat("active") == 0
    bench.tick(100.0)
    assert bench.stat("active") == 0


def test_the_threshold_is_mean_less_deviations() -> None:
    assert ejection_threshold([50, 100, 100, 100, 100], 1.9) == Threshold(90.0, 52.0)


EVENT = st.one_of(
    st.tuples(st.just("responded"), st.integers(0, 3), st.sampled_from([200, 404, 500, 502, 503])),
    st.tuples(st.just("failed"), st.integers(0, 3), st.sampled_from([503, 504])),
    st.tuples(st.just("connected"), st.integers(0, 3), st.none()),
    st.tuples(st.just("tick"), st.none(), st.floats(0.1, 40.0)),
    st.tuples(st.just("check"), st.integers(0, 3), st.none()),
)


@given(
    events=st.lists(EVENT, max_size=150),
    split=st.booleans(),
    percent=st.integers(0, 100),
    always=st.booleans(),
    random=st.floats(0, 0.999),
)
def test_whatever_happens_the_books_are_kept(
    events: list[tuple[str, int | None, float | None]], split: bool, percent: int, always: bool, random: float
) -> None:
    bench = Bench(
        4,
        lambda: random,
        max_ejection_percent=percent,
        always_eject_one_host=always,
        split_external_local_origin_errors=split,
        consecutive_5xx=2,
        consecutive_gateway_failure=2,
        consecutive_local_origin_failure=2,
        success_rate_minimum_hosts=2,
        success_rate_request_volume=2,
        failure_percentage_minimum_hosts=2,
        failure_percentage_request_volume=2,
        enforcing=dict.fromkeys(Kind, 60),
    )
    for name, index, value in events:
        if name == "tick":
            bench.tick(value or 0.0)
        elif name == "check":
            bench.detector.check_passed(bench.endpoints[index or 0])
        elif name == "connected":
            bench.monitor(index or 0).connected()
        else:
            getattr(bench.monitor(index or 0), name)(value)
        ejected = sum(bench.out(each) for each in range(4))
        assert bench.stat("active") == ejected
        assert 100.0 * ejected / 4 <= percent or (always and ejected <= 1)
        assert all(bench.monitor(each).backoff <= 12 for each in range(4))
    bench.tick(1e6)  # may still eject by the rates of the interval before
    bench.tick(1e6)
    assert not any(bench.out(each) for each in range(4))
