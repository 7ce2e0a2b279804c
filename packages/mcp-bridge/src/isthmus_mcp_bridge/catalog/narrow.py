"""What differs between two claims about one service, so that a change in a service of thousands costs what it changes. Pure.

Claims of one origin share the objects of those endpoints that stayed the same (``sharing``); everything else compares objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim
from isthmus_mcp_bridge.same import same_ends

BIG = 256
"""Endpoints from which on looking for what differs is worth its cost."""


def sharing(old: ServiceClaim, new: ServiceClaim) -> ServiceClaim:
    """The new claim, with the old one's objects for the equal endpoints at its start and at its end."""
    before, after = old.endpoints, new.endpoints
    shorter = min(len(before), len(after))
    if shorter < BIG:
        return new
    first = next((n for n in range(shorter) if before[n] is not after[n] and before[n] != after[n]), shorter)
    rest = range(1, shorter - first + 1)
    last = next((n - 1 for n in rest if before[-n] is not after[-n] and before[-n] != after[-n]), shorter - first)
    endpoints = (*before[:first], *after[first : len(after) - last], *before[len(before) - last :])
    return dataclasses.replace(new, endpoints=endpoints)


def narrowed(old: ServiceClaim, new: ServiceClaim) -> tuple[ServiceClaim, ServiceClaim]:
    """Both claims with only the endpoints at those addresses at which they may differ."""
    if min(len(old.endpoints), len(new.endpoints)) < BIG:
        return old, new
    addresses = changed_addresses(old, new)
    return at(old, addresses), at(new, addresses)


def changed_endpoints(old: ServiceClaim, new: ServiceClaim) -> ServiceClaim:
    """The new claim with only those endpoints that the old one may lack."""
    first, last = same_ends(old.endpoints, new.endpoints)
    return dataclasses.replace(new, endpoints=new.endpoints[first : len(new.endpoints) - last])


def changed_addresses(old: ServiceClaim, new: ServiceClaim) -> set[str]:
    """The addresses at which the endpoints may differ."""
    first, last = same_ends(old.endpoints, new.endpoints)
    middles = (old.endpoints[first : len(old.endpoints) - last], new.endpoints[first : len(new.endpoints) - last])
    return {one.address for middle in middles for one in middle}


def at(claim: ServiceClaim, addresses: Collection[str]) -> ServiceClaim:
    """The claim with only the endpoints at these addresses."""
    endpoints: tuple[EndpointClaim, ...] = tuple(one for one in claim.endpoints if one.address in addresses)
    return dataclasses.replace(claim, endpoints=endpoints)
