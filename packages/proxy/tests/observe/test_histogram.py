from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.observe.histogram import BOUNDS, Histogram, bucket

MILLISECONDS = st.floats(min_value=0, max_value=9e6, allow_nan=False)


def test_quantiles_read_as_envoy_prints_them() -> None:
    # Six samples of 1 ms in a live Envoy: P0(1.0142857...) P25(1.0285714...) P50(1.042857...) P75(1.0714...) P100(1.0857...)
    histogram = Histogram("h")
    for _ in range(6):
        histogram.record(1)
    expected = [1.0142857, 1.0285714, 1.0428571, 1.0714286, 1.0857143]
    assert histogram.quantiles((0.0, 0.25, 0.5, 0.75, 1.0)) == pytest.approx(expected, abs=1e-6)


def test_a_single_sample_stands_in_the_middle_of_its_bucket() -> None:
    histogram = Histogram("h")
    histogram.record(18)
    assert histogram.quantiles((0.0, 0.5, 1.0)) == [18.5, 18.5, 18.5]


def test_without_samples_there_are_no_quantiles() -> None:
    assert Histogram("h").quantiles() == []
    assert Histogram("h").cumulative() == [0] * len(BOUNDS)


@given(MILLISECONDS)
def test_a_value_falls_into_the_bucket_that_holds_it(value: float) -> None:
    histogram = Histogram("h")
    histogram.record(value)
    low, width = bucket(histogram.counts.index(1))
    assert low - 1e-9 * value <= value < (low + width) * (1 + 1e-9) + 1e-9
    assert width <= max(0.1, value / 10 * (1 + 1e-9))


@given(st.lists(MILLISECONDS, min_size=1, max_size=200), st.floats(min_value=0, max_value=1))
def test_a_quantile_lies_in_the_bucket_of_the_value_of_that_rank(values: list[float], fraction: float) -> None:
    histogram = Histogram("h")
    for value in values:
        histogram.record(value)
    rank = max(1, -int(-fraction * len(values) // 1))
    exact = sorted(values)[rank - 1]
    (found,) = histogram.quantiles((fraction,))
    assert abs(found - exact) <= max(0.1, exact / 10) + 1e-9
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(sum(values))


@given(st.lists(st.integers(min_value=0, max_value=4_000_000), max_size=100))
def test_cumulative_buckets_count_what_is_below_each_bound(values: list[int]) -> None:
    histogram = Histogram("h")
    for value in values:
        # The middle of a bucket is on the same side of every bound as the whole bucket.
        histogram.record(value + 0.01)
    for bound, count in zip(BOUNDS, histogram.cumulative(), strict=True):
        assert count == sum(1 for value in values if value + 0.01 < bound)


@pytest.mark.parametrize("value", [-5.0, 0.0])
def test_a_clock_that_went_back_counts_as_zero(value: float) -> None:
    histogram = Histogram("h")
    histogram.record(value)
    assert histogram.counts[0] == 1


def test_the_largest_values_share_the_last_bucket() -> None:
    histogram = Histogram("h")
    histogram.record(1e9)
    histogram.record(1e12)
    assert histogram.counts[-1] == 2
