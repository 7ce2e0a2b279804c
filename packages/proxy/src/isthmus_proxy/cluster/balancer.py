"""Pickers: which of several endpoints serves the next request (envoy.extensions.load_balancing_policies).

A picker is built for a fixed set of endpoints and thrown away when the set, a weight or an endpoint's health changes.
Randomness comes in as a function that returns numbers in [0, 1), time as one that returns seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from isthmus_proxy.cluster.edf import DynamicWeights, WeightedRoundRobin
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.lb_policy import LeastRequest, Random, RoundRobin
from isthmus_proxy.cluster.slow_start import Now, slowed, warming

RandomSource = Callable[[], float]


class Picker(Protocol):
    """Picks from a set that is never empty."""

    def pick(self) -> Endpoint:
        """Return the endpoint for one request."""
        ...


class InTurn:
    """Equal weights: one after the other, from a random start, so that many proxies do not begin at the same endpoint."""

    __slots__ = ("_endpoints", "_index")

    def __init__(self, endpoints: Sequence[Endpoint], start: int) -> None:
        self._endpoints = endpoints
        self._index = start % len(endpoints) - 1

    def pick(self) -> Endpoint:
        """Return the next endpoint."""
        index = self._index + 1
        if index == len(self._endpoints):
            index = 0
        self._index = index
        return self._endpoints[index]


class IdlestOfDraws:
    """Equal weights: of ``choice_count`` endpoints drawn at random, repeats allowed, the one with fewest requests."""

    __slots__ = ("_choice_count", "_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], choice_count: int, random: RandomSource) -> None:
        self._endpoints = endpoints
        self._choice_count = choice_count
        self._random = random

    def pick(self) -> Endpoint:
        """Return the least loaded of the drawn endpoints; the first drawn wins a tie."""
        endpoints, random = self._endpoints, self._random
        size = len(endpoints)
        best = endpoints[int(random() * size)]
        for _ in range(self._choice_count - 1):
            other = endpoints[int(random() * size)]
            if other.rq_active < best.rq_active:
                best = other
        return best


class IdlestOfAll:
    """Equal weights: the endpoint with fewest requests of all; ties are drawn."""

    __slots__ = ("_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], random: RandomSource) -> None:
        self._endpoints = endpoints
        self._random = random

    def pick(self) -> Endpoint:
        """Return one of the least loaded endpoints."""
        least = min([endpoint.rq_active for endpoint in self._endpoints])
        idlest = [endpoint for endpoint in self._endpoints if endpoint.rq_active == least]
        return idlest[int(self._random() * len(idlest))]


class AtRandom:
    """Any endpoint with equal chance; weights do not count, as in Envoy."""

    __slots__ = ("_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], random: RandomSource) -> None:
        self._endpoints = endpoints
        self._random = random

    def pick(self) -> Endpoint:
        """Return an endpoint drawn at random."""
        return self._endpoints[int(self._random() * len(self._endpoints))]


def build(
    policy: RoundRobin | LeastRequest | Random, endpoints: Sequence[Endpoint], random: RandomSource, now: Now
) -> Picker:
    """Make the picker of ``policy`` for ``endpoints`` (at least one)."""
    if isinstance(policy, Random):
        return AtRandom(endpoints, random)
    slow_start = policy.slow_start
    if slow_start is not None and not warming(endpoints, slow_start, now()):
        slow_start = None
    first = endpoints[0].weight
    if slow_start is None and all(endpoint.weight == first for endpoint in endpoints):
        return _by_equal_weights(policy, endpoints, random)
    if isinstance(policy, LeastRequest):
        weight = _weight_by_requests(policy.active_request_bias)
    elif slow_start is None:
        return WeightedRoundRobin(endpoints, random())
    else:
        weight = _weight
    return DynamicWeights(endpoints, weight if slow_start is None else slowed(weight, slow_start, now), random())


def _by_equal_weights(policy: RoundRobin | LeastRequest, endpoints: Sequence[Endpoint], random: RandomSource) -> Picker:
    if isinstance(policy, RoundRobin):
        return InTurn(endpoints, int(random() * 4294967296))
    if policy.full_scan:
        return IdlestOfAll(endpoints, random)
    return IdlestOfDraws(endpoints, policy.choice_count, random)


def _weight(endpoint: Endpoint) -> float:
    return endpoint.weight


def _weight_by_requests(bias: float) -> Callable[[Endpoint], float]:
    def weight(endpoint: Endpoint) -> float:
        busy: float = (endpoint.rq_active + 1.0) ** bias
        return endpoint.weight / busy

    return weight
