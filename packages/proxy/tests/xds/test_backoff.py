from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.xds.backoff import FIRST_SECONDS, MAX_SECONDS, Backoff


@given(st.lists(st.floats(min_value=0, max_value=1, exclude_max=True), min_size=1, max_size=20))
def test_delays_double_up_to_the_limit_with_jitter(draws: list[float]) -> None:
    rest = iter(draws)
    backoff = Backoff(lambda: next(rest))
    bound = FIRST_SECONDS
    for _ in draws:
        assert bound / 2 <= backoff.next_delay() <= bound
        bound = min(bound * 2, MAX_SECONDS)


def test_an_answer_starts_it_over() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(10):
        backoff.next_delay()
    assert backoff.next_delay() == MAX_SECONDS / 2
    backoff.reset()
    assert backoff.next_delay() == FIRST_SECONDS / 2


def test_the_bounds_of_the_bootstrap_file_count() -> None:
    backoff = Backoff(lambda: 1.0, 0.1, 0.3)
    assert [round(backoff.next_delay(), 9) for _ in range(4)] == [0.1, 0.2, 0.3, 0.3]
    backoff.reset()
    assert backoff.next_delay() == 0.1
