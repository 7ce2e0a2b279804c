"""Which management server is next: by what was tried, and who answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.xds.backoff import Backoff
from isthmus_proxy.xds.servers import Server, Servers


def servers(**addresses: int) -> Servers:
    made = tuple(Server(name, Backoff(lambda: 0.0, 2.0, 8.0)) for name in addresses)
    return Servers(made, addresses.__getitem__)


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        ({"a": 1}, "aaaa"),
        ({"a": 1, "b": 1}, "aabbaab"),
        ({"a": 3, "b": 1}, "aaabbaaa"),
        ({"a": 0, "b": 1, "c": 1}, "aabbccaa"),
    ],
)
def test_without_an_answer_each_is_tried_twice_or_at_all_its_addresses(addresses: dict[str, int], order: str) -> None:
    found = servers(**addresses)
    seen = ""
    for _ in order:
        seen += found.current.cluster
        found.failed()
    assert seen == order


@pytest.mark.parametrize(
    ("addresses", "attempts"), [({"a": 1}, 1), ({"a": 3}, 3), ({"a": 1, "b": 1}, 3), ({"a": 3, "b": 2}, 5)]
)
def test_attempts_until_every_address_was_tried(addresses: dict[str, int], attempts: int) -> None:
    assert servers(**addresses).attempts_at_all == attempts


def test_each_has_its_own_pauses_that_an_answer_shortens_again() -> None:
    found = servers(a=1, b=1)
    assert [found.failed() for _ in "aabb"] == [1.0, 2.0, 1.0, 2.0]
    assert [found.failed() for _ in "aab"] == [4.0, 4.0, 4.0]
    assert not found.answered()
    assert (found.failed(), found.current.cluster) == (1.0, "a")


def test_another_server_than_the_last_that_answered_is_strange() -> None:
    found = servers(a=1, b=1)
    assert (found.strange, found.answered()) == (False, False)
    found.failed()
    assert not found.strange
    found.failed()
    found.failed()
    assert (found.current.cluster, found.strange) == ("b", True)
    assert (found.answered(), found.strange) == (True, False)


@given(st.lists(st.sampled_from(["answered", "failed"]), max_size=60), st.integers(1, 4))
def test_the_end_of_a_stream_that_answered_leads_to_the_first(events: list[str], count: int) -> None:
    found = servers(**{f"s{index}": 1 for index in range(count)})
    answered = False
    for event in events:
        if event == "answered":
            found.answered()
            answered = True
            continue
        assert found.failed() > 0
        if answered:
            assert found.current.cluster == "s0"
        answered = False
