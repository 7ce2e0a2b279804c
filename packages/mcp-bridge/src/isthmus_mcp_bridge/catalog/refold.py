"""Folds a big service again where it has changed: addresses of which nothing is said anew keep what they had.

An address's workloads depend on what is claimed about that address, on the port table, and on two things of the whole service: which
ports all workloads serve, and in which terms weights stand. Where those stay the same, the fold of the changed addresses alone,
put in the place of what they had, is the fold of everything; where they do not, or where instances warm up or have two
addresses (dual mode), everything is folded anew. A property test holds both against each other.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

from isthmus_mcp_bridge.catalog.fold import Arranged, arranged, assembled, reduction
from isthmus_mcp_bridge.catalog.narrow import BIG, at, changed_addresses
from isthmus_mcp_bridge.catalog.rules import MergeRules
from isthmus_mcp_bridge.model import MergedService, ServiceClaim, ServiceKey, Side, Workload

LARGEST_SHARE = 8
"""Where more than one address in so many has changed, everything is folded."""

_address = attrgetter("address")


@dataclasses.dataclass(frozen=True, slots=True)
class Folded:
    """A fold and what it was made from. ``weights`` counts the workloads by weight, before that was reduced."""

    claims: tuple[ServiceClaim, ...]
    merged: MergedService
    weights: Counter[int]


def folded(claims: Sequence[ServiceClaim], merged: MergedService, found: Arranged) -> Folded | None:
    """What to keep of a whole fold; None where the next one has to be whole as well.

    Without conflicts every workload serves the same ports, so that the arrangement of one address depends on no other one.
    """
    workloads = found.arrangement.workloads
    if len(workloads) < BIG or not _is_plain(claims) or found.arrangement.conflicts:
        return None
    return Folded(tuple(claims), merged, Counter(one.weight for one in workloads))


def refold(
    key: ServiceKey, claims: Sequence[ServiceClaim], rules: MergeRules, before: Folded
) -> tuple[MergedService, Folded] | None:
    """The fold of the claims, made from the one before; None where that does not do. No policy of dual mode may concern the service."""
    if [one.ports for one in claims] != [one.ports for one in before.claims]:
        return None
    addresses = set[str]().union(*map(changed_addresses, before.claims, claims))
    if len(addresses) * LARGEST_SHARE > len(before.merged.workloads):
        return None
    narrow = [at(one, addresses) for one in claims]
    if not _is_plain(narrow):
        return None
    found = arranged(narrow, rules)
    served = {one.name for one in before.merged.ports}
    if found.arrangement.conflicts or (found.arrangement.workloads and found.arrangement.ports != served):
        return None
    return _replaced(key, claims, before, found, addresses)


def _replaced(
    key: ServiceKey, claims: Sequence[ServiceClaim], before: Folded, found: Arranged, addresses: set[str]
) -> tuple[MergedService, Folded] | None:
    """Put the workloads of these addresses in the place of those that they had."""
    old_reduction = reduction(before.weights)
    weights, workloads = Counter(before.weights), list(before.merged.workloads)
    by_address: dict[str, list[Workload]] = {}
    for one in found.arrangement.workloads:
        by_address.setdefault(one.address, []).append(one)
    for address in addresses:
        start, end = bisect_left(workloads, address, key=_address), bisect_right(workloads, address, key=_address)
        for gone in workloads[start:end]:
            weights[old_reduction.original(gone.weight)] -= 1
        weights.update(one.weight for one in by_address.get(address, ()))
        workloads[start:end] = old_reduction.reduced(by_address.get(address, ()))
    weights = +weights
    if not workloads or reduction(weights) != old_reduction:
        return None
    whole = dataclasses.replace(found.arrangement, ports=frozenset(one.name for one in before.merged.ports))
    merged = assembled(key, claims, Arranged(found.table, whole, True), tuple(workloads))
    return merged, Folded(tuple(claims), merged, weights)


def _is_plain(claims: Sequence[ServiceClaim]) -> bool:
    """Whether nothing in them depends on the time or on other addresses."""
    return not any(one.warm_up is not None or one.side is Side.MESH for claim in claims for one in claim.endpoints)
