"""Why a service is published as it is: every claim, who won each field and by which rule, what is held or damped. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.gathered import Gathered, gather
from isthmus_mcp_bridge.catalog.ports import resolve_ports
from isthmus_mcp_bridge.catalog.sources import Source
from isthmus_mcp_bridge.catalog.warm_up import share_percent
from isthmus_mcp_bridge.model import EndpointClaim, EndpointKey, ServiceKey, SourcedClaim

MAX_ENDPOINTS = 1000
"""Endpoints explained; ``endpoint_count`` says how many there are."""


def explain(catalog: Catalog, key: ServiceKey, now: float) -> dict[str, Any] | None:
    """The explanation as plain values for JSON; None when nobody claims the service."""
    sourced = catalog.claims(key)
    merged = catalog.services.get(key)
    if not sourced and merged is None:
        return None
    claims = [one.claim for one in sourced]
    table = resolve_ports(claims)
    gathered = gather(claims, table)
    said = catalog.merge_as_said(key, now)
    return {
        "service": key.name,
        "published": merged is not None,
        "rules": {
            "presence": catalog.rules.presence,
            "weight": catalog.rules.weight,
            "labels": catalog.rules.labels,
            "locality, service_account, addresses": "priority",
        },
        "sources": [_source(catalog.sources[name], key, sourced) for name in _names(sourced)],
        "ports": [_port(sourced, table.names, port.name, port.number, port.protocol) for port in table.ports],
        "addresses": _addresses(catalog, key, sourced),
        "endpoint_count": len(gathered),
        "endpoints": [
            _endpoint(catalog, sourced, endpoint, found, now)
            for endpoint, found in sorted(gathered.items(), key=lambda one: one[0])[:MAX_ENDPOINTS]
        ],
        "conflicts": [
            {"path": one.path, "value": one.value, "message": one.message}
            for one in (merged.conflicts if merged else ())
        ],
        "differs_from_what_registries_say_now": said != merged if catalog.vips is None else _differs(said, merged),
    }


def _differs(said: Any, merged: Any) -> bool:
    """Whether the instances do: the address is the bridge's own."""
    return (said and (said.ports, said.workloads)) != (merged and (merged.ports, merged.workloads))


def _names(sourced: Sequence[SourcedClaim]) -> list[str]:
    return list(dict.fromkeys(one.source for one in sourced))


def _source(source: Source, key: ServiceKey, sourced: Sequence[SourcedClaim]) -> dict[str, Any]:
    origins = [one.origin for one in sourced if one.source == source.name]
    return {
        "name": source.name,
        "state": source.state,
        "reason": source.reason,
        "restored_from_disk": source.restored,
        "origins": [{"origin": origin, "revision": source.revision_of(origin)} for origin in origins],
        "held": sorted(origin for origin in origins if origin in source.held),
        "damped": sorted(
            f"{address}:{port}" for origin in origins for _, address, port in source.damper.damped_of((origin, key))
        ),
    }


def _port(
    sourced: Sequence[SourcedClaim], names: dict[tuple[int, str], str], name: str, number: int, protocol: str
) -> dict[str, Any]:
    """A service port and every registry's own word for it."""
    asked = []
    for index, one in enumerate(sourced):
        for port in one.claim.ports:
            if names.get((index, port.name)) == name:
                kind = "stated" if port.stated else "guessed"
                asked.append(f"{one.source}: {port.name} {port.number} {port.protocol} ({kind})")
    stated = any(text.endswith("(stated)") for text in asked)
    rule = (
        "stated by a registry, the first by precedence"
        if stated
        else "guessed from the protocol: no registry states one"
    )
    return {"name": name, "number": number, "protocol": protocol, "claims": list(dict.fromkeys(asked)), "rule": rule}


def _addresses(catalog: Catalog, key: ServiceKey, sourced: Sequence[SourcedClaim]) -> dict[str, Any]:
    winner = next((one for one in sourced if one.claim.addresses), None)
    if winner is not None:
        return {"value": sorted(set(winner.claim.addresses)), "winner": winner.source, "rule": "priority"}
    vip = catalog.vips.addresses.get(key) if catalog.vips is not None else None
    return {"value": [vip] if vip else [], "winner": "", "rule": "virtual address" if vip else "no registry states one"}


def _endpoint(
    catalog: Catalog, sourced: Sequence[SourcedClaim], key: EndpointKey, found: Gathered, now: float
) -> dict[str, Any]:
    rules, claims = catalog.rules, found.claims
    published, why = fields.verdict(claims, rules)
    hidden = catalog.dual_modes.hidden_by(sourced[0].claim.key, key) if published else ""
    if hidden:
        published, why = False, hidden
    weight, by_weight = fields.weight(claims, rules)
    labels, by_labels = fields.labels(claims, rules)
    locality, by_locality = fields.locality(claims)
    account, by_account = fields.service_account(claims)

    def name(index: int) -> str:
        return sourced[found.origins[index]].source if index != fields.NOBODY else "default"

    explained = {
        "address": f"{key.address}:{key.port}",
        "published": published,
        "rule": why,
        "weight": {"value": weight, "winner": name(by_weight)},
        "labels": {"value": dict(labels), "winner": name(by_labels)},
        "locality": {"value": locality, "winner": name(by_locality)},
        "service_account": {"value": account, "winner": name(by_account)},
        "claims": [_claim(sourced[index], claim) for index, claim in zip(found.origins, claims, strict=True)],
    }
    warm_up = next((one.warm_up for one in claims if one.warm_up is not None), None)
    if warm_up is not None:
        share = share_percent(warm_up, int((now + catalog.epoch_offset_s) * 1000))
        explained["warm_up"] = {
            "share_percent": share,
            "start_ms": warm_up.start_ms,
            "duration_ms": warm_up.duration_ms,
        }
    return explained


def _claim(sourced: SourcedClaim, claim: EndpointClaim) -> dict[str, Any]:
    return {
        "source": sourced.source,
        "origin": sourced.origin,
        "raw_id": claim.raw_id,
        "presence": claim.presence,
        "weight": claim.weight,
        "labels": dict(claim.labels),
    }
