"""The look-up table of maglev load balancing, entry for entry Envoy's (Maglev paper, section 3.4, with weights)."""

from __future__ import annotations

from array import array
from typing import Final

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.hashing import xx_hash_function
from isthmus_proxy.cluster.lb_policy import Maglev
from isthmus_proxy.cluster.ring_hash import Weighted

_FREE: Final = 0xFFFFFFFF
_MASK: Final = (1 << 64) - 1


class MaglevTable:
    """``table_size`` indexes of endpoints, four bytes each. ``minimum`` and ``maximum``: entries of an endpoint."""

    __slots__ = ("_endpoints", "_owners", "maximum", "minimum")

    def __init__(self, weighted: Weighted, policy: Maglev) -> None:
        # By key, so that the order of an assignment does not matter; Envoy has the same order.
        weighted = sorted(weighted, key=lambda item: item[0].hash_key(use_hostname=policy.use_hostname))
        self._endpoints = [endpoint for endpoint, _ in weighted]
        self._owners, counts = _fill(weighted, policy)
        self.minimum, self.maximum = min(counts), max(counts)

    def choose(self, key: int, attempt: int) -> Endpoint:
        """Return the endpoint of ``key``; a retry changes most bits of the key, so that retries spread."""
        if attempt:
            key ^= (_MASK - attempt + 1) & _MASK
        owners = self._owners
        return self._endpoints[owners[key % len(owners)]]


def _fill(weighted: Weighted, policy: Maglev) -> tuple[array[int], list[int]]:
    """Let the endpoints claim entries in turn, each by its own permutation; the heaviest has a turn in every round."""
    size = policy.table_size
    digest = xx_hash_function()
    keys = [endpoint.hash_key(use_hostname=policy.use_hostname) for endpoint, _ in weighted]
    places = [digest(key) % size for key in keys]
    steps = [digest(key, 1) % (size - 1) + 1 for key in keys]
    shares = [share for _, share in weighted]
    heaviest = max(shares)
    targets = [0.0] * len(shares)
    counts = [0] * len(shares)
    owners = array("I", [_FREE]) * size
    filled = turn = 0
    while filled < size:
        turn += 1
        for owner, share in enumerate(shares):
            if turn * share < targets[owner]:
                continue
            targets[owner] += heaviest
            place, step = places[owner], steps[owner]
            while owners[place] != _FREE:
                place += step
                if place >= size:
                    place -= size
            owners[place] = owner
            counts[owner] += 1
            place += step
            places[owner] = place - size if place >= size else place
            filled += 1
            if filled == size:
                break
    return owners, counts
