"""Retries keep away from priorities that were tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.priority import Census, distribute
from isthmus_proxy.cluster.retry_priority import loads_after

THREE = distribute([Census(2, 2, 0, 0)] * 3, 140, 50.0)


def test_the_next_priority_takes_all_after_each_attempt() -> None:
    assert [loads_after(THREE, tried, 1).healthy for tried in ([], [0], [0, 1])] == [
        (100, 0, 0),
        (0, 100, 0),
        (0, 0, 100),
    ]


def test_when_all_were_tried_all_count_again() -> None:
    assert loads_after(THREE, [0, 1, 2], 1).healthy == (100, 0, 0)
    assert loads_after(THREE, [0, 1, 2, 0], 1).healthy == (0, 100, 0)


def test_priorities_are_excluded_after_so_many_attempts() -> None:
    found = [loads_after(THREE, [0] * number, 2).healthy for number in range(4)]
    assert found == [(100, 0, 0), (100, 0, 0), (0, 100, 0), (0, 100, 0)]


def test_what_has_no_healthy_endpoint_takes_nothing() -> None:
    loads = distribute([Census(2, 2, 0, 0), Census(2, 0, 0, 0), Census(2, 1, 1, 0)], 140, 50.0)
    found = loads_after(loads, [0], 1)
    assert (found.healthy, found.degraded) == ((0, 0, 70), (0, 0, 30))


def test_where_nothing_is_healthy_the_loads_stay() -> None:
    loads = distribute([Census(2, 0, 0, 0), Census(2, 0, 0, 0)], 140, 50.0)
    assert loads_after(loads, [0], 1) == loads


CENSUS = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)).map(
    lambda counts: Census(sum(counts), counts[0], counts[1], 0)
)


@given(st.lists(CENSUS, min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=8), st.integers(1, 3))
def test_loads_are_whole(census: list[Census], tried: list[int], frequency: int) -> None:
    loads = distribute(census, 140, 50.0)
    found = loads_after(loads, [each % len(census) for each in tried], frequency)
    assert sum(found.healthy) + sum(found.degraded) == 100
    assert found.panic == loads.panic
