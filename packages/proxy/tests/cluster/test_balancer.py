from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.balancer import AtRandom, IdlestOfAll, IdlestOfDraws, InTurn, Picker, build
from isthmus_proxy.cluster.edf import DynamicWeights, WeightedRoundRobin
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.lb_policy import LeastRequest, RoundRobin, SlowStart
from isthmus_proxy.cluster.lb_policy import Random as RandomPolicy
from isthmus_proxy.cluster.model import EndpointConfig, LocalityEndpoints

PLACE = LocalityEndpoints(())


def endpoints(*weights: int) -> list[Endpoint]:
    return [Endpoint(EndpointConfig("10.0.0.1", 1 + i, weight=weight), PLACE) for i, weight in enumerate(weights)]


def picker(policy: RoundRobin | LeastRequest | RandomPolicy, hosts: list[Endpoint], now: float = 0.0) -> Picker:
    return build(policy, hosts, Random(1).random, lambda: now)


@given(size=st.integers(1, 20), start=st.integers(0, 2**32))
def test_round_robin_serves_every_endpoint_once_a_round(size: int, start: int) -> None:
    hosts = endpoints(*[1] * size)
    balancer = InTurn(hosts, start)
    picks = [balancer.pick() for _ in range(3 * size)]
    assert picks[0] is hosts[start % size]
    assert picks[:size] == picks[size : 2 * size] == picks[2 * size :]
    assert set(picks[:size]) == set(hosts)


@given(
    weights=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    start=st.floats(0, 1, exclude_max=True),
    skipped=st.integers(0, 90),
)
def test_weighted_round_robin_is_exact_over_every_period(weights: list[int], start: float, skipped: int) -> None:
    hosts = endpoints(*weights)
    balancer = WeightedRoundRobin(hosts, start)
    for _ in range(skipped):
        balancer.pick()
    for _ in range(3):
        counts = Counter(balancer.pick() for _ in range(sum(weights)))
        assert [counts[host] for host in hosts] == weights


def test_weighted_round_robin_spreads_like_envoy() -> None:
    first, second = endpoints(3, 1)
    balancer = WeightedRoundRobin([first, second], 0)
    names = ["A" if balancer.pick() is first else "B" for _ in range(12)]
    assert "".join(names) in {"AAB" + "AAAB" * 2 + "A", "AAAB" * 3}


def test_large_weights_do_not_make_a_large_table() -> None:
    hosts = endpoints(4_000_000_000, 1)
    balancer = WeightedRoundRobin(hosts, 0)
    assert all(balancer.pick() is hosts[0] for _ in range(1000))


def test_least_request_takes_the_idler_of_two() -> None:
    busy, idle = endpoints(1, 1)
    busy.rq_active = 5
    draws = iter([0.0, 0.9, 0.9, 0.0])
    balancer = IdlestOfDraws([busy, idle], 2, lambda: next(draws))
    assert balancer.pick() is idle
    assert balancer.pick() is idle


def test_least_request_keeps_the_first_drawn_of_equals() -> None:
    first, second = endpoints(1, 1)
    draws = iter([0.9, 0.0])
    assert IdlestOfDraws([first, second], 2, lambda: next(draws)).pick() is second


def test_least_request_with_weights_regards_what_is_in_flight() -> None:
    heavy, light = endpoints(10, 1)
    heavy.rq_active = 1000
    balancer = picker(LeastRequest(), [heavy, light])
    assert isinstance(balancer, DynamicWeights)
    picks = Counter(balancer.pick() for _ in range(300))
    assert picks[light] > 10 * picks[heavy]


def test_least_request_bias_of_zero_is_plain_weights() -> None:
    heavy, light = endpoints(3, 1)
    heavy.rq_active = 1000
    balancer = picker(LeastRequest(active_request_bias=0.0), [heavy, light])
    picks = Counter(balancer.pick() for _ in range(400))
    assert abs(picks[heavy] - 300) <= 1


@given(draw=st.floats(0, 1, exclude_max=True), size=st.integers(1, 9))
def test_random_ignores_weights(draw: float, size: int) -> None:
    hosts = endpoints(*range(1, size + 1))
    balancer = build(RandomPolicy(), hosts, lambda: draw, lambda: 0.0)
    assert isinstance(balancer, AtRandom)
    assert balancer.pick() is hosts[int(draw * size)]


def test_equal_weights_need_no_schedule() -> None:
    assert isinstance(picker(RoundRobin(), endpoints(7, 7)), InTurn)
    assert isinstance(picker(RoundRobin(), endpoints(7, 8)), WeightedRoundRobin)


def test_full_scan_finds_the_idlest_of_all_and_draws_among_equals() -> None:
    hosts = endpoints(*[1] * 50)
    for host in hosts:
        host.rq_active = 3
    hosts[17].rq_active = hosts[31].rq_active = 1
    balancer = picker(LeastRequest(full_scan=True), hosts)
    assert isinstance(balancer, IdlestOfAll)
    assert {balancer.pick() for _ in range(50)} == {hosts[17], hosts[31]}


@pytest.mark.parametrize("policy", [RoundRobin(SlowStart(60.0)), LeastRequest(slow_start=SlowStart(60.0))])
@pytest.mark.parametrize(("age", "part"), [(0.0, 0.1), (3.0, 0.1), (30.0, 0.5), (60.0, 1.0), (90.0, 1.0)])
def test_a_new_endpoint_gets_its_part_by_age(policy: RoundRobin | LeastRequest, age: float, part: float) -> None:
    old, new = endpoints(1, 1)
    new.healthy_since = 1000.0
    balancer = picker(policy, [old, new], now=1000.0 + age)
    counts = Counter(balancer.pick() for _ in range(11000))
    assert counts[new] == pytest.approx(11000 * part / (1 + part), rel=0.05)


def test_aggression_bends_the_slow_start() -> None:
    old, new = endpoints(1, 1)
    new.healthy_since = 0.0
    balancer = picker(RoundRobin(SlowStart(100.0, aggression=2.0)), [old, new], now=25.0)
    counts = Counter(balancer.pick() for _ in range(3000))
    assert counts[new] == pytest.approx(1000, abs=5)  # (25 / 100) ** (1 / 2) = half the weight


def test_after_the_window_equal_weights_need_no_schedule() -> None:
    hosts = endpoints(1, 1)
    hosts[0].healthy_since = 0.0
    assert isinstance(picker(RoundRobin(SlowStart(10.0)), hosts, now=10.0), InTurn)
    assert isinstance(picker(RoundRobin(SlowStart(10.0)), hosts, now=9.0), DynamicWeights)
