"""What checks of one endpoint add up to, step by step and under any sequence of outcomes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.health.event_log import JsonHealthEventLog
from isthmus_proxy.cluster.health.flags import (
    ACTIVE_HC_TIMEOUT,
    DEGRADED_ACTIVE_HC,
    FAILED_ACTIVE_HC,
    PENDING_ACTIVE_HC,
)
from isthmus_proxy.cluster.health.host_check import Failure, HostCheck, Transition
from isthmus_proxy.cluster.health.model import HealthCheckConfig, HttpCheck
from isthmus_proxy.cluster.health.stats import HealthCheckStats
from isthmus_proxy.cluster.model import EndpointConfig, LocalityEndpoints
from isthmus_proxy.observe.stats import StatsStore

UNCHANGED, CHANGED, PENDING = Transition.UNCHANGED, Transition.CHANGED, Transition.PENDING


class Bench:
    """The checks of one endpoint, which has failed so far, and their log."""

    def __init__(self, *, traffic: bool = True, **options: object) -> None:
        self.store = StatsStore()
        self.lines: list[dict[str, object]] = []
        self.endpoint = Endpoint(EndpointConfig("10.0.0.1", 80), LocalityEndpoints((), "r", "z"))
        self.endpoint.flags = FAILED_ACTIVE_HC
        settings = {"unhealthy_threshold": 3, "healthy_threshold": 2, **options}
        config = HealthCheckConfig(HttpCheck(), 1.0, 5.0, **settings)  # type: ignore[arg-type]
        log = JsonHealthEventLog(
            "web", config.kind, [lambda line: self.lines.append(json.loads(line))], lambda: "2026-01-01T00:00:00.000Z"
        )
        stats = HealthCheckStats(self.store.scope("cluster.web"))
        self.check = HostCheck(config, self.endpoint, stats, lambda: 0.5, lambda: traffic, log)

    @property
    def failed(self) -> bool:
        return bool(self.endpoint.flags & FAILED_ACTIVE_HC)

    def stat(self, name: str) -> int | None:
        return self.store.value(f"cluster.web.health_check.{name}")

    def events(self) -> list[str]:
        return [next(name for name in line if name.endswith(("_event", "_host"))) for line in self.lines]


def test_the_first_check_decides_alone_and_later_ones_by_the_thresholds() -> None:
    bench = Bench()
    assert bench.check.passed() is CHANGED
    assert [bench.check.failed(Failure.NETWORK) for _ in range(4)] == [PENDING, PENDING, CHANGED, UNCHANGED]
    assert [bench.check.passed() for _ in range(3)] == [PENDING, CHANGED, UNCHANGED]
    assert (bench.stat("success"), bench.stat("failure"), bench.stat("network_failure")) == (4, 4, 4)
    assert bench.stat("healthy") == 1
    assert bench.events() == ["add_healthy_event", "eject_unhealthy_event", "add_healthy_event"]
    assert [line.get("add_healthy_event") for line in bench.lines] == [
        {"first_check": True},
        None,
        {"first_check": False},
    ]


def test_a_first_check_that_fails_is_logged_and_the_threshold_of_health_holds_from_then_on() -> None:
    bench = Bench()
    assert bench.check.failed(Failure.NETWORK) is UNCHANGED
    assert bench.lines[0]["health_check_failure_event"] == {
        "failure_type": "NETWORK",
        "first_check": True,
        "http_status_code": 0,
    }
    assert [bench.check.passed(), bench.check.passed()] == [PENDING, CHANGED]


def test_a_wrong_answer_is_enough_alone_unless_it_may_be_tried_again() -> None:
    bench = Bench()
    bench.check.passed()
    assert bench.check.failed(Failure.ACTIVE, retriable=True) is PENDING
    assert bench.check.failed(Failure.ACTIVE) is CHANGED
    assert bench.stat("network_failure") == 0


def test_a_success_makes_failures_count_anew() -> None:
    bench = Bench()
    bench.check.passed()
    for _ in range(5):
        bench.check.failed(Failure.NETWORK)
        bench.check.failed(Failure.NETWORK)
        bench.check.passed()
    assert not bench.failed


def test_a_timeout_is_shown_as_long_as_it_is_the_last_reason() -> None:
    bench = Bench(unhealthy_threshold=1)
    bench.check.failed(Failure.NETWORK_TIMEOUT)
    assert bench.endpoint.flags & ACTIVE_HC_TIMEOUT
    bench.check.failed(Failure.NETWORK)
    assert not bench.endpoint.flags & ACTIVE_HC_TIMEOUT
    bench.check.failed(Failure.NETWORK_TIMEOUT)
    bench.check.passed()
    bench.check.passed()
    assert bench.endpoint.flags == 0


def test_degraded_comes_and_goes_with_the_answer() -> None:
    bench = Bench()
    assert bench.check.passed(degraded=True) is CHANGED
    assert bench.endpoint.flags == DEGRADED_ACTIVE_HC
    assert bench.stat("degraded") == 1
    assert bench.check.passed(degraded=True) is UNCHANGED
    assert bench.check.passed() is CHANGED
    assert (bench.endpoint.flags, bench.stat("degraded")) == (0, 0)
    assert bench.events() == ["add_healthy_event", "degraded_healthy_host", "no_longer_degraded_host"]


def test_the_first_check_ends_the_wait_for_it_whatever_its_outcome() -> None:
    bench = Bench()
    bench.endpoint.flags |= PENDING_ACTIVE_HC
    assert bench.check.failed(Failure.NETWORK) is CHANGED
    assert bench.endpoint.flags == FAILED_ACTIVE_HC


@pytest.mark.parametrize(
    ("traffic", "passed", "transition", "seconds"),
    [
        (True, True, UNCHANGED, 5.0),
        (True, True, CHANGED, 5.0),
        (True, True, PENDING, 1.0),
        (True, False, PENDING, 2.0),
        (True, False, CHANGED, 3.0),
        (True, False, UNCHANGED, 3.0),
        (False, False, PENDING, 60.0),
        (False, True, UNCHANGED, 30.0),
    ],
)
def test_the_next_check_is_as_far_as_the_state_says(
    traffic: bool, passed: bool, transition: Transition, seconds: float
) -> None:
    bench = Bench(
        traffic=traffic,
        healthy_edge_interval=1.0,
        unhealthy_edge_interval=2.0,
        unhealthy_interval=3.0,
        no_traffic_healthy_interval=30.0,
    )
    assert bench.check.next_check(transition, passed=passed) == seconds


def test_jitter_is_added_as_a_share_and_as_such() -> None:
    bench = Bench(interval_jitter=4.0, interval_jitter_percent=20)
    assert bench.check.next_check(UNCHANGED, passed=True) == 5.0 + 0.5 * 1.0 + 0.5 * 4.0


def test_every_check_is_logged_if_asked_for() -> None:
    bench = Bench(always_log_failures=True, always_log_success=True)
    bench.check.passed()
    bench.check.passed()
    bench.check.failed(Failure.NETWORK_TIMEOUT)
    assert bench.events() == ["add_healthy_event", "successful_health_check_event", "health_check_failure_event"]
    assert bench.lines[2]["health_check_failure_event"] == {
        "failure_type": "NETWORK_TIMEOUT",
        "first_check": False,
        "http_status_code": 0,
    }
    assert bench.lines[2]["locality"] == {"region": "r", "zone": "z", "sub_zone": ""}


OUTCOMES = st.sampled_from(["pass", "degraded", "network", "timeout", "wrong", "retriable"])


@settings(deadline=None)
@given(st.lists(OUTCOMES, max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_the_gauges_say_what_the_flags_say_after_any_outcomes(outcomes: list[str], low: int, high: int) -> None:
    bench = Bench(unhealthy_threshold=low, healthy_threshold=high)
    for outcome in outcomes:
        if outcome in ("pass", "degraded"):
            bench.check.passed(degraded=outcome == "degraded")
        else:
            kind = {"network": Failure.NETWORK, "timeout": Failure.NETWORK_TIMEOUT}.get(outcome, Failure.ACTIVE)
            bench.check.failed(kind, retriable=outcome == "retriable")
        flags = bench.endpoint.flags
        assert bench.stat("healthy") == (0 if flags & FAILED_ACTIVE_HC else 1)
        assert bench.stat("degraded") == (1 if flags & DEGRADED_ACTIVE_HC else 0)
    if outcomes and outcomes[-1] == "wrong":
        assert bench.failed
    bench.check.forget()
    assert (bench.stat("healthy"), bench.stat("degraded")) == (0, 0)
