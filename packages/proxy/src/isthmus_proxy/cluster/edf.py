"""Earliest-deadline-first scheduling: picks in proportion to weights, spread evenly (Envoy's EdfScheduler)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from math import gcd

from isthmus_proxy.cluster.endpoint import Endpoint


class WeightedRoundRobin:
    """Fixed weights. Deadlines are k/weight, never a running sum, and start over after each full period.

    So every period of ``sum(weights)/gcd(weights)`` picks holds each endpoint exactly in proportion, for ever.
    """

    __slots__ = ("_endpoints", "_heap", "_order", "_period", "_picks", "_weights")

    def __init__(self, endpoints: Sequence[Endpoint], offset: int) -> None:
        divisor = gcd(*(endpoint.weight for endpoint in endpoints))
        self._endpoints = endpoints
        self._weights = [endpoint.weight // divisor for endpoint in endpoints]
        self._period = sum(self._weights)
        self._start_over()
        for _ in range(offset % len(endpoints)):
            self.pick()

    def _start_over(self) -> None:
        self._picks = 0
        self._order = len(self._endpoints)
        self._heap = [(1 / weight, index, index, 1) for index, weight in enumerate(self._weights)]
        heapify(self._heap)

    def pick(self) -> Endpoint:
        """Return the endpoint whose turn it is."""
        heap = self._heap
        _, _, index, turn = heap[0]
        self._picks += 1
        if self._picks == self._period:
            self._start_over()
        else:
            turn += 1
            heapreplace(heap, (turn / self._weights[index], self._order, index, turn))
            self._order += 1
        return self._endpoints[index]


class DynamicWeights:
    """Weights that are asked for at each pick (least request): deadlines run on, as exactness has no meaning here."""

    __slots__ = ("_heap", "_order", "_weight")

    def __init__(self, endpoints: Sequence[Endpoint], weight: Callable[[Endpoint], float], offset: int) -> None:
        self._weight = weight
        self._order = len(endpoints)
        self._heap = [(1.0 / weight(endpoint), index, endpoint) for index, endpoint in enumerate(endpoints)]
        heapify(self._heap)
        for _ in range(offset % len(endpoints)):
            self.pick()

    def pick(self) -> Endpoint:
        """Return the endpoint whose turn it is, and queue it again by its weight of this moment."""
        deadline, _, endpoint = self._heap[0]
        heapreplace(self._heap, (deadline + 1.0 / self._weight(endpoint), self._order, endpoint))
        self._order += 1
        return endpoint
