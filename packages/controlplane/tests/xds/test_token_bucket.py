"""The limit on new streams, at its edges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.xds.token_bucket import TokenBucket


def test_a_burst_and_then_a_rate() -> None:
    now = [100.0]
    bucket = TokenBucket(lambda: now[0])
    assert [bucket.take(2.0, 3) for _ in range(4)] == [True, True, True, False]
    now[0] += 0.4
    assert not bucket.take(2.0, 3)
    now[0] += 0.1
    assert bucket.take(2.0, 3)
    assert not bucket.take(2.0, 3)
    now[0] += 1000
    assert [bucket.take(2.0, 3) for _ in range(4)] == [True, True, True, False]


def test_no_rate_is_no_limit() -> None:
    bucket = TokenBucket(lambda: 0.0)
    assert all(bucket.take(0.0, 1) for _ in range(100))


@given(st.lists(st.floats(0, 2), max_size=50), st.floats(0.1, 10), st.integers(1, 5))
def test_never_more_than_burst_and_rate(gaps: list[float], rate: float, burst: int) -> None:
    now = [0.0]
    bucket = TokenBucket(lambda: now[0])
    taken = 0
    for gap in gaps:
        now[0] += gap
        taken += bucket.take(rate, burst)
        assert taken <= burst + rate * now[0] + 1e-6
