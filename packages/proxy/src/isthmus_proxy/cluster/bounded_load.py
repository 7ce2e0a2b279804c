"""Consistent hashing with bounded loads (arXiv:1608.01350, with the random jumps of arXiv:1908.08762), as in Envoy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from random import Random
from typing import Protocol

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.ring_hash import Weighted


class HashTable(Protocol):
    """A ring, a maglev table, or one of them with bounded loads."""

    def choose(self, key: int, attempt: int) -> Endpoint:
        """Return the endpoint of ``key`` for the first (0) or a further attempt."""
        ...


class BoundedLoad:
    """No endpoint gets more than ``factor`` per cent of the mean load while another has room.

    ``active`` tells how many requests the whole cluster has in flight.
    """

    __slots__ = ("_active", "_factor", "_shares", "_table", "_weighted")

    def __init__(self, table: HashTable, weighted: Weighted, factor: int, active: Callable[[], int]) -> None:
        self._table = table
        self._weighted = weighted
        self._shares = dict(weighted)
        self._factor = factor
        self._active = active

    def choose(self, key: int, attempt: int) -> Endpoint:
        """Return the endpoint of ``key`` if it has room; else the first that has, in an order that ``key`` alone decides."""
        found = self._table.choose(key, attempt)
        slots = ((self._active() + 1) * self._factor + 99) // 100
        least = overload = _overload(found, slots * self._shares[found])
        if overload <= 1.0:
            return found
        chosen = found
        for endpoint, share in _shuffled(self._weighted, key):
            if endpoint is found:
                continue
            overload = _overload(endpoint, slots * share)
            if overload <= 1.0:
                return endpoint
            if overload < least:
                chosen, least = endpoint, overload
        return chosen


def _overload(endpoint: Endpoint, slots: float) -> float:
    return endpoint.rq_active / max(ceil(slots), 1)


def _shuffled(weighted: Weighted, seed: int) -> Iterator[tuple[Endpoint, float]]:
    """Yield the endpoints in the order that ``seed`` gives."""
    order = list(range(len(weighted)))
    draw = _mersenne_twister(seed)
    for index in range(len(order)):
        other = index + _uniform(draw, len(order) - index)
        order[index], order[other] = order[other], order[index]
        yield weighted[order[index]]


def _uniform(draw: Callable[[], int], below: int) -> int:
    bucket = (1 << 32) // below
    while True:
        found = draw() // bucket
        if found < below:
            return found


def _mersenne_twister(seed: int) -> Callable[[], int]:
    """Return ``std::mt19937(seed)``: Python's generator is the same, but it spreads its seed over the state in another way."""
    state = [seed & 0xFFFFFFFF]
    for index in range(1, 624):
        last = state[-1]
        state.append((1812433253 * (last ^ (last >> 30)) + index) & 0xFFFFFFFF)
    twister = Random()
    twister.setstate((3, (*state, 624), None))
    return lambda: twister.getrandbits(32)
