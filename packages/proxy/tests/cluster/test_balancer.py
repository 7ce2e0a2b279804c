from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.balancer import LeastRequest, RandomChoice, RoundRobin, build
from isthmus_proxy.cluster.edf import DynamicWeights, WeightedRoundRobin
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.model import ClusterConfig, EndpointConfig, LocalityEndpoints

PLACE = LocalityEndpoints(())


def endpoints(*weights: int) -> list[Endpoint]:
    return [Endpoint(EndpointConfig("10.0.0.1", 1 + i, weight=weight), PLACE) for i, weight in enumerate(weights)]


def config(policy: str, **fields: object) -> ClusterConfig:
    return ClusterConfig("c", "STATIC", lb_policy=policy, **fields)  # type: ignore[arg-type]


@given(size=st.integers(1, 20), start=st.integers(0, 2**32))
def test_round_robin_serves_every_endpoint_once_a_round(size: int, start: int) -> None:
    hosts = endpoints(*[1] * size)
    balancer = RoundRobin(hosts, start)
    picks = [balancer.pick() for _ in range(3 * size)]
    assert picks[0] is hosts[start % size]
    assert picks[:size] == picks[size : 2 * size] == picks[2 * size :]
    assert set(picks[:size]) == set(hosts)


@given(
    weights=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    start=st.integers(0, 2**32),
    skipped=st.integers(0, 90),
)
def test_weighted_round_robin_is_exact_over_every_period(weights: list[int], start: int, skipped: int) -> None:
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
    balancer = LeastRequest([busy, idle], 2, lambda: next(draws))
    assert balancer.pick() is idle
    assert balancer.pick() is idle


def test_least_request_keeps_the_first_drawn_of_equals() -> None:
    first, second = endpoints(1, 1)
    draws = iter([0.9, 0.0])
    assert LeastRequest([first, second], 2, lambda: next(draws)).pick() is second


def test_least_request_with_weights_regards_what_is_in_flight() -> None:
    heavy, light = endpoints(10, 1)
    heavy.rq_active = 1000
    balancer = build(config("LEAST_REQUEST"), [heavy, light], Random(1).random)
    assert isinstance(balancer, DynamicWeights)
    picks = Counter(balancer.pick() for _ in range(300))
    assert picks[light] > 10 * picks[heavy]


def test_least_request_bias_of_zero_is_plain_weights() -> None:
    heavy, light = endpoints(3, 1)
    heavy.rq_active = 1000
    balancer = build(config("LEAST_REQUEST", active_request_bias=0.0), [heavy, light], Random(1).random)
    picks = Counter(balancer.pick() for _ in range(400))
    assert abs(picks[heavy] - 300) <= 1


@given(draw=st.floats(0, 1, exclude_max=True), size=st.integers(1, 9))
def test_random_ignores_weights(draw: float, size: int) -> None:
    hosts = endpoints(*range(1, size + 1))
    balancer = build(config("RANDOM"), hosts, lambda: draw)
    assert isinstance(balancer, RandomChoice)
    assert balancer.pick() is hosts[int(draw * size)]


def test_equal_weights_need_no_schedule() -> None:
    assert isinstance(build(config("ROUND_ROBIN"), endpoints(7, 7), Random(1).random), RoundRobin)
    assert isinstance(build(config("ROUND_ROBIN"), endpoints(7, 8), Random(1).random), WeightedRoundRobin)
