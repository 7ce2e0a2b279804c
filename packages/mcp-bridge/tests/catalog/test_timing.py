from __future__ import annotations

from isthmus_mcp_bridge.catalog.barrier import Barrier
from isthmus_mcp_bridge.catalog.debounce import Debounce, FairDebounce


def test_the_barrier_waits_for_every_source() -> None:
    barrier = Barrier({"a": 10, "b": 20})
    assert barrier.waiting_for(0) == ["a", "b"]
    barrier.complete("b")
    assert barrier.waiting_for(0) == ["a"]
    barrier.complete("a")
    assert barrier.waiting_for(0) == []
    assert barrier.next_deadline(0) is None


def test_the_barrier_does_not_wait_past_a_deadline() -> None:
    barrier = Barrier({"a": 10, "b": 20})
    assert barrier.next_deadline(0) == 10
    assert barrier.waiting_for(10) == ["b"]
    assert barrier.next_deadline(10) == 20
    assert barrier.waiting_for(20) == []


def test_changes_are_published_after_a_quiet_time_or_the_longest_one() -> None:
    debounce = Debounce(1, 3)
    assert debounce.due() is None
    debounce.changed(10)
    assert debounce.due() == 11
    debounce.changed(10.5)
    assert debounce.due() == 11.5
    debounce.changed(12.9)
    assert debounce.due() == 13
    debounce.published()
    assert debounce.due() is None


def test_a_source_that_never_rests_delays_no_other_one() -> None:
    debounce = FairDebounce(["noisy", "quiet"], 1, 5)
    assert debounce.due() is None
    debounce.changed("quiet", 10)
    for tenth in range(100, 109):
        debounce.changed("noisy", tenth / 10)
    assert debounce.due() == 11
    assert debounce.take_due(10.9) == []
    assert debounce.take_due(11) == ["quiet"]
    assert debounce.due() == 11.8
    for tenth in range(110, 150):
        debounce.changed("noisy", tenth / 10)
    assert debounce.due() == 15
    assert debounce.take_due(15) == ["noisy"]
    assert debounce.due() is None
