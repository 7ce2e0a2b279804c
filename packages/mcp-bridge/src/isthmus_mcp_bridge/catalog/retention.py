"""What stays of a source's claims when it loses some and is not believed; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isthmus_mcp_bridge.catalog.narrow import narrowed
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey

Claims = dict[ServiceKey, ServiceClaim]


def retained(old: Claims, new: Claims) -> tuple[Claims, bool]:
    """What is new is added and what is missing stays, in doubt. Returns the claims and whether something was missing."""
    kept = {key: doubted(claim) for key, claim in old.items() if key not in new}
    for key, claim in new.items():
        kept[key] = _united(old[key], claim) if key in old else claim
    return kept, any(kept[key] != new.get(key) for key in old)


def doubted(claim: ServiceClaim) -> ServiceClaim:
    """The claim with every endpoint that is up in doubt."""
    return dataclasses.replace(claim, endpoints=_doubted(claim.endpoints))


def _doubted(endpoints: Sequence[EndpointClaim]) -> tuple[EndpointClaim, ...]:
    """What was up is in doubt: all claims about it, because one of the same registry would outweigh that."""
    up = {(one.network, one.address, one.port) for one in endpoints if one.presence is Presence.UP}
    return tuple(
        dataclasses.replace(one, presence=Presence.DOUBTED)
        if one.presence is not Presence.OFFLINE and (one.network, one.address, one.port) in up
        else one
        for one in endpoints
    )


def _united(old: ServiceClaim, new: ServiceClaim) -> ServiceClaim:
    """The new claim with those endpoints of the old one that the new one does not mention."""
    if old.endpoints == new.endpoints:
        return new
    mentioned = {(one.network, one.address, one.port) for one in new.endpoints}
    names = {port.name for port in new.ports}
    kept = _doubted(
        [
            one
            for one in old.endpoints
            if (one.network, one.address, one.port) not in mentioned and one.service_port in names
        ]
    )
    return dataclasses.replace(new, endpoints=(*new.endpoints, *kept)) if kept else new


def lost_endpoints(old: Claims, new: Claims) -> int:
    """How many endpoints are no longer mentioned; one that is taken out of service explicitly is mentioned."""
    lost = 0
    for key, claim in old.items():
        now = new.get(key)
        if now is claim or (now is not None and now.endpoints == claim.endpoints):
            continue
        if now is not None:
            claim, now = narrowed(claim, now)
        mentioned = {(one.network, one.address, one.port) for one in now.endpoints} if now is not None else set()
        lost += len({(one.network, one.address, one.port) for one in claim.endpoints} - mentioned)
    return lost
