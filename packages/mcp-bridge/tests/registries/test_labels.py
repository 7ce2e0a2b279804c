from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.istio_rules import is_label_key, is_label_value
from isthmus_mcp_bridge.registries.backoff import FIRST_S, LONGEST_S, Backoff
from isthmus_mcp_bridge.registries.labels import sanitise, sanitise_labels


@pytest.mark.parametrize(
    ("raw", "label"),
    [("a,b", "a-b"), ("v1.0", "v1.0"), ("/path/", "path"), ("über", "ber"), ("", ""), ("--", ""), ("a" * 70, "a" * 63)],
)
def test_values(raw: str, label: str) -> None:
    assert sanitise(raw) == label


def test_an_end_that_the_cut_makes_bad_is_cut_too() -> None:
    assert sanitise("a" * 62 + ".b") == "a" * 62


@given(st.dictionaries(st.text(max_size=80), st.text(max_size=80)))
def test_all_labels_are_istios(raw: dict[str, str]) -> None:
    labels = sanitise_labels(raw.items())
    assert labels == sanitise_labels(reversed(raw.items()))
    assert labels == tuple(sorted(labels))
    assert all(is_label_key(key) and is_label_value(value) for key, value in labels)


def test_of_two_keys_that_become_one_the_first_stays() -> None:
    assert sanitise_labels([("a/b", "1"), ("a,b", "2")]) == (("a-b", "2"),)


def test_backoff_doubles_to_a_bound_and_starts_again() -> None:
    backoff = Backoff(lambda: 0)
    assert [backoff.delay() for _ in range(3)] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert [backoff.delay() for _ in range(9)][-1] == LONGEST_S
    backoff.reset()
    assert backoff.delay() == FIRST_S
    assert Backoff(lambda: 0.999).delay() > FIRST_S / 2
