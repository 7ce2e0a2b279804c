"""How load spreads over priorities, degraded endpoints and panic: Envoy's LoadBalancerBase arithmetic, in whole per cents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Census:
    """Endpoint counts of one priority. ``excluded`` ones (draining) are not in the denominator of availability."""

    total: int
    healthy: int
    degraded: int
    excluded: int

    @property
    def eligible(self) -> int:
        """Endpoints that availability is measured against."""
        return self.total - self.excluded


@dataclass(frozen=True, slots=True)
class Loads:
    """Per cent of requests that each priority's healthy and degraded endpoints get; ``panic`` ones use all endpoints.

    ``availability`` are the per cent of its requests that each priority's healthy, and its degraded endpoints could take.
    """

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]
    availability: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def choose(self, random: float) -> tuple[int, bool]:
        """Return (priority, degraded?) for a number in [0, 1)."""
        return self.choose_by_hash(int(random * 100))

    def choose_by_hash(self, key: int) -> tuple[int, bool]:
        """Return (priority, degraded?) for any number: the same for the same number."""
        mark = key % 100 + 1
        reached = 0
        for loads, degraded in ((self.healthy, False), (self.degraded, True)):
            for priority, load in enumerate(loads):
                reached += load
                if mark <= reached:
                    return priority, degraded
        return 0, False


def distribute(priorities: Sequence[Census], overprovisioning: int, panic_threshold: float) -> Loads:
    """Compute the loads. ``overprovisioning`` is in per cent (140), ``panic_threshold`` too (50, 0 = never panic)."""
    healthy = [_availability(census.healthy, census.eligible, overprovisioning) for census in priorities]
    degraded = [_availability(census.degraded, census.eligible, overprovisioning) for census in priorities]
    total = min(100, sum(healthy) + sum(degraded))
    panic = tuple(total != 100 and in_panic(census, panic_threshold) for census in priorities)
    availability = tuple(healthy), tuple(degraded)
    if total == 0 and panic_threshold == 0:
        return Loads(_all_to_first(priorities), (0,) * len(priorities), (False,) * len(priorities), availability)
    if all(panic) or total == 0:
        # Nothing counts as available (or so little that it rounds to nothing): every endpoint is worth a try.
        panic = (True,) * len(priorities)
        return Loads(_by_size(priorities), (0,) * len(priorities), panic, availability)
    return Loads(*spread(healthy, degraded, total), panic, availability)


def _availability(count: int, eligible: int, overprovisioning: int) -> int:
    return min(100, overprovisioning * count // eligible) if eligible else 0


def in_panic(census: Census, threshold: float) -> bool:
    """Whether fewer than ``threshold`` per cent of the endpoints are usable."""
    usable = census.healthy + census.degraded
    return (100.0 * usable / census.eligible if census.eligible else 0.0) < min(100.0, threshold)


def _all_to_first(priorities: Sequence[Census]) -> tuple[int, ...]:
    return (100,) + (0,) * (len(priorities) - 1)


def _by_size(priorities: Sequence[Census]) -> tuple[int, ...]:
    total = sum(census.total for census in priorities)
    if total == 0:
        return _all_to_first(priorities)
    loads = [100 * census.total // total for census in priorities]
    first = next(index for index, census in enumerate(priorities) if census.total)
    loads[first] += 100 - sum(loads)
    return tuple(loads)


def spread(healthy: list[int], degraded: list[int], total: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Loads of healthy and degraded endpoints by the availability of each priority, which is ``total`` together, at most 100."""
    left = 100
    shares: list[list[int]] = []
    for availability in (healthy, degraded):
        share = []
        for value in availability:
            share.append(min(left, value * 100 // total))
            left -= share[-1]
        shares.append(share)
    # What is left is rounding; the first priority that has anything gets it.
    for availability, share in zip((healthy, degraded), shares, strict=True):
        first = next((index for index, value in enumerate(availability) if value), None)
        if first is not None:
            share[first] += left
            break
    return tuple(shares[0]), tuple(shares[1])
