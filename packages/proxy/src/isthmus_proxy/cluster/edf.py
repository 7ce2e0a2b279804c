"""Earliest-deadline-first scheduling: picks in proportion to weights, spread evenly (Envoy's EdfScheduler)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from math import gcd
from typing import Generic, TypeVar

from isthmus_proxy.cluster.endpoint import Endpoint

T = TypeVar("T")


class WeightedRoundRobin:
    """Fixed weights. Deadlines are k/weight, never a running sum, and start over after each full period.

    So every period of ``sum(weights)/gcd(weights)`` picks holds each endpoint exactly in proportion, for ever. A period lasts
    from 0 to 1; the first one begins at ``start``, so that many proxies do not begin at the same endpoint.
    """

    __slots__ = ("_endpoints", "_heap", "_period", "_picks", "_weights")

    def __init__(self, endpoints: Sequence[Endpoint], start: float) -> None:
        divisor = gcd(*(endpoint.weight for endpoint in endpoints))
        self._endpoints = endpoints
        self._weights = [endpoint.weight // divisor for endpoint in endpoints]
        self._period = sum(self._weights)
        self._begin(start)

    def _begin(self, start: float) -> None:
        turns = [_turns_until(start, weight) + 1 for weight in self._weights]
        self._picks = sum(turns) - len(turns)
        # Of equal deadlines the lower index is first, so that a period is the same wherever it begins.
        self._heap = [
            (turn / weight, index, turn) for index, (turn, weight) in enumerate(zip(turns, self._weights, strict=True))
        ]
        heapify(self._heap)

    def pick(self) -> Endpoint:
        """Return the endpoint whose turn it is."""
        heap = self._heap
        _, index, turn = heap[0]
        self._picks += 1
        if self._picks == self._period:
            self._begin(0.0)
        else:
            turn += 1
            heapreplace(heap, (turn / self._weights[index], index, turn))
        return self._endpoints[index]


def _turns_until(start: float, weight: int) -> int:
    """Number of deadlines k/weight up to ``start``, as division rounds them."""
    turns = int(start * weight)
    while (turns + 1) / weight <= start:
        turns += 1
    while turns and turns / weight > start:
        turns -= 1
    return turns


class DynamicWeights(Generic[T]):
    """Weights that are asked for at each pick (least request, slow start) or are no whole numbers (localities).

    Deadlines run on, as exactness has no meaning here. ``start`` in [0, 1) spreads where many proxies begin.
    """

    __slots__ = ("_heap", "_order", "_weight")

    def __init__(self, items: Sequence[T], weight: Callable[[T], float], start: float) -> None:
        self._weight = weight
        self._order = len(items)
        weights = [weight(item) for item in items]
        total = sum(weights)
        # By the time t an item of weight w has had floor(t * w) turns; t counts rounds of as many picks as there are items.
        now = start * len(items) / total
        self._heap = [
            ((int(now * each) + 1) / each, index, item)
            for index, (each, item) in enumerate(zip(weights, items, strict=True))
        ]
        heapify(self._heap)

    def pick(self) -> T:
        """Return the item whose turn it is, and queue it again by its weight of this moment."""
        deadline, _, item = self._heap[0]
        heapreplace(self._heap, (deadline + 1.0 / self._weight(item), self._order, item))
        self._order += 1
        return item
