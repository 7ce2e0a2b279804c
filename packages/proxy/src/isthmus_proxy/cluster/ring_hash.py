"""The ring of ring hash load balancing (Ketama), point for point Envoy's."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from math import ceil

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.hashing import murmur_hash_2, xx_hash_function
from isthmus_proxy.cluster.lb_policy import RingHash

Weighted = Sequence[tuple[Endpoint, float]]
"""Endpoints with their share of the load; the shares add up to one."""


class Ring:
    """Points of the ring in order: ``hashes`` and, in 12 bytes a point together, the index of the endpoint of each."""

    __slots__ = ("_endpoints", "_owners", "hashes", "maximum", "minimum")

    def __init__(self, weighted: Weighted, policy: RingHash) -> None:
        self._endpoints = [endpoint for endpoint, _ in weighted]
        points, counts = _points(weighted, policy)
        points.sort()
        self.hashes = array("Q", [point >> 32 for point in points])
        self._owners = array("I", [point & 0xFFFFFFFF for point in points])
        self.minimum, self.maximum = min(counts), max(counts)

    def choose(self, key: int, attempt: int) -> Endpoint:
        """Return the endpoint of the first point at or after ``key``; for a retry, of the ``attempt``-th after that."""
        hashes = self.hashes
        size = len(hashes)
        index = (bisect_left(hashes, key) % size + attempt) % size
        return self._endpoints[self._owners[index]]


def _points(weighted: Weighted, policy: RingHash) -> tuple[list[int], list[int]]:
    """Return hash and owner of each point in one number, and how many points each endpoint has.

    The least share gets a whole number of points; the others follow a running sum, as theirs need not be whole.
    """
    least = min(share for _, share in weighted)
    scale = min(ceil(least * policy.minimum_ring_size) / least, float(policy.maximum_ring_size))
    digest = murmur_hash_2 if policy.hash_function == "MURMUR_HASH_2" else xx_hash_function()
    points: list[int] = []
    counts: list[int] = []
    target = 0.0
    for owner, (endpoint, share) in enumerate(weighted):
        target += scale * share
        stem = endpoint.hash_key(use_hostname=policy.use_hostname) + b"_"
        count = max(0, ceil(target) - len(points))
        points += [digest(stem + b"%d" % index) << 32 | owner for index in range(count)]
        counts.append(count)
    return points, counts
