"""Slow start: endpoints that have just come get less at first (Envoy's EdfLoadBalancerBase). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.lb_policy import SlowStart

Now = Callable[[], float]
"""Seconds of the clock by which endpoints note since when they are healthy."""


def warming(endpoints: Sequence[Endpoint], slow_start: SlowStart, now: float) -> bool:
    """Whether one of ``endpoints`` is healthy for less than the window."""
    since = now - slow_start.window
    return any(endpoint.healthy_since > since for endpoint in endpoints)


def slowed(weight: Callable[[Endpoint], float], slow_start: SlowStart, now: Now) -> Callable[[Endpoint], float]:
    """Return ``weight`` times the part that the age of an endpoint has earned it by now."""
    window, least, exponent = slow_start.window, slow_start.min_weight, 1.0 / slow_start.aggression

    def slow_weight(endpoint: Endpoint) -> float:
        age = now() - endpoint.healthy_since
        if age >= window:
            return weight(endpoint)
        earned: float = (max(age, 0.001) / window) ** exponent
        return weight(endpoint) * max(earned, least)

    return slow_weight
