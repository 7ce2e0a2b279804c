from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.route.memo import Memo


@given(limit=st.integers(2, 20), keys=st.lists(st.integers(0, 30)))
def test_it_never_lies_and_never_outgrows_its_limit(limit: int, keys: list[int]) -> None:
    memo: Memo[str] = Memo(limit)
    for key in keys:
        answer = memo.get(key)
        assert answer in (None, str(key))
        if answer is None:
            memo.put(key, str(key))
        assert memo.get(key) == str(key)
        assert memo.size <= limit
    assert memo.hits + memo.misses == 2 * len(keys)


def test_what_is_in_use_survives_a_flood() -> None:
    memo: Memo[int] = Memo(10)
    memo.put("hot", 1)
    for number in range(1000):
        memo.put(number, number)
        assert memo.get("hot") == 1


def test_an_empty_answer_is_an_answer() -> None:
    memo: Memo[tuple[()]] = Memo(10)
    memo.put("none", ())
    assert memo.get("none") == ()
