"""The figures are those of a live Envoy, or of its documentation where it agrees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.priority import Census, Loads, distribute


def census(healthy: int, unhealthy: int = 0, degraded: int = 0, excluded: int = 0) -> Census:
    return Census(healthy + unhealthy + degraded + excluded, healthy, degraded, excluded)


@pytest.mark.parametrize(
    ("priorities", "healthy"),
    [
        ([census(10), census(10)], (100, 0)),
        ([census(72, 28), census(10)], (100, 0)),
        ([census(5, 5), census(10)], (70, 30)),  # 1.4 x 50 %
        ([census(25, 75), census(100)], (35, 65)),
        ([census(0, 10), census(10)], (0, 100)),
        ([census(25, 75), census(25, 75)], (50, 50)),
    ],
)
def test_load_spills_over_by_health(priorities: list[Census], healthy: tuple[int, ...]) -> None:
    assert distribute(priorities, 140, 50.0).healthy == healthy


def test_degraded_endpoints_get_the_remainder() -> None:
    loads = distribute([census(1, degraded=1)], 140, 50.0)
    assert (loads.healthy, loads.degraded, loads.panic) == ((70,), (30,), (False,))


def test_panic_below_the_threshold() -> None:
    assert distribute([census(4, 6)], 140, 50.0).panic == (True,)
    assert distribute([census(5, 5)], 140, 50.0).panic == (False,)
    assert distribute([census(0, 3)], 140, 50.0).panic == (True,)


def test_no_panic_when_another_priority_takes_the_load() -> None:
    assert distribute([census(0, 3), census(3)], 140, 50.0).panic == (False, False)


def test_total_panic_spreads_by_size() -> None:
    loads = distribute([census(0, 30), census(0, 10)], 140, 50.0)
    assert (loads.healthy, loads.panic) == ((75, 25), (True, True))


def test_a_threshold_of_zero_turns_panic_off() -> None:
    loads = distribute([census(0, 3)], 140, 0.0)
    assert (loads.healthy, loads.panic) == ((100,), (False,))


def test_draining_endpoints_are_not_in_the_denominator() -> None:
    assert distribute([census(1, excluded=9)], 140, 50.0).panic == (False,)


def test_no_endpoints_at_all() -> None:
    assert distribute([census(0)], 140, 50.0).healthy == (100,)


COUNTS = st.integers(0, 30)


@given(
    priorities=st.lists(st.builds(census, COUNTS, COUNTS, COUNTS, COUNTS), min_size=1, max_size=5),
    factor=st.integers(1, 300),
    threshold=st.floats(0, 100),
)
def test_loads_always_add_up(priorities: list[Census], factor: int, threshold: float) -> None:
    loads = distribute(priorities, factor, threshold)
    assert sum(loads.healthy) + sum(loads.degraded) == 100
    assert min(*loads.healthy, *loads.degraded) >= 0


@given(draw=st.floats(0, 1, exclude_max=True))
def test_choosing_follows_the_loads(draw: float) -> None:
    loads = Loads((30, 20), (0, 50), (False, False))
    mark = draw * 100
    expected = (0, False) if mark < 30 else (1, False) if mark < 50 else (1, True)
    assert loads.choose(draw) == expected
