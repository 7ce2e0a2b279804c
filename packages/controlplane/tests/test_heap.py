"""When long-lived objects are set apart, and when they are looked through again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from isthmus_controlplane.heap import SETTLE_AFTER_STREAMS, THAW_AFTER_STREAMS, Heap


class Cycle:
    """Garbage that only a collection frees."""

    def __init__(self, freed: list[int]) -> None:
        self.me = self
        self.freed = freed

    def __del__(self) -> None:
        self.freed.append(1)


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_streams_that_came_are_set_apart() -> None:
    gc.unfreeze()
    heap = Heap()
    heap.look(SETTLE_AFTER_STREAMS - 1, SETTLE_AFTER_STREAMS - 1)
    assert gc.get_freeze_count() == 0
    heap.look(SETTLE_AFTER_STREAMS, SETTLE_AFTER_STREAMS)
    assert gc.get_freeze_count() > 0


def test_cycles_among_them_are_freed_when_enough_streams_ended() -> None:
    heap, freed = Heap(), list[int]()
    Cycle(freed)
    gc.freeze()
    gc.collect()
    heap.look(THAW_AFTER_STREAMS - 1, 0)
    assert not freed
    heap.look(THAW_AFTER_STREAMS, 0)
    assert freed
    again = list[int]()
    Cycle(again)
    heap.look(THAW_AFTER_STREAMS + 10, 0)
    assert not again
