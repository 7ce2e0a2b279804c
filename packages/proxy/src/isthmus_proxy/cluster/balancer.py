"""Load balancers: which of several endpoints serves the next request (envoy.extensions.load_balancing_policies).

A balancer is built for a fixed set of endpoints and thrown away when the set or a weight changes. Randomness comes in as a
function that returns numbers in [0, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from isthmus_proxy.cluster.edf import DynamicWeights, WeightedRoundRobin
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.model import ClusterConfig

Random = Callable[[], float]


class Balancer(Protocol):
    """Picks from a set that is never empty."""

    def pick(self) -> Endpoint:
        """Return the endpoint for one request."""
        ...


class RoundRobin:
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


class LeastRequest:
    """Equal weights: of ``choice_count`` endpoints drawn at random, repeats allowed, the one with fewest requests."""

    __slots__ = ("_choice_count", "_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], choice_count: int, random: Random) -> None:
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


class RandomChoice:
    """Any endpoint with equal chance; weights do not count, as in Envoy."""

    __slots__ = ("_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], random: Random) -> None:
        self._endpoints = endpoints
        self._random = random

    def pick(self) -> Endpoint:
        """Return an endpoint drawn at random."""
        return self._endpoints[int(self._random() * len(self._endpoints))]


def build(config: ClusterConfig, endpoints: Sequence[Endpoint], random: Random) -> Balancer:
    """Make the balancer that ``config.lb_policy`` names for ``endpoints`` (at least one)."""
    if config.lb_policy == "RANDOM":
        return RandomChoice(endpoints, random)
    alike = all(endpoint.weight == endpoints[0].weight for endpoint in endpoints)
    start = int(random() * 4294967296)
    if config.lb_policy == "LEAST_REQUEST":
        if alike:
            return LeastRequest(endpoints, config.choice_count, random)
        return DynamicWeights(endpoints, _weight_by_requests(config.active_request_bias), start)
    return RoundRobin(endpoints, start) if alike else WeightedRoundRobin(endpoints, start)


def _weight_by_requests(bias: float) -> Callable[[Endpoint], float]:
    def weight(endpoint: Endpoint) -> float:
        busy: float = (endpoint.rq_active + 1.0) ** bias
        return endpoint.weight / busy

    return weight
