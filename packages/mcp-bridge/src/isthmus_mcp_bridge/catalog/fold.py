"""Folds what several registries claim about one service into one merged service.

Which endpoints are published and what each field is, ``fields`` decides by the rules; here the results for all endpoints are put
together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.gathered import Gathered, gather
from isthmus_mcp_bridge.catalog.ports import resolve_ports
from isthmus_mcp_bridge.catalog.rules import DEFAULT_RULES, MergeRules
from isthmus_mcp_bridge.catalog.warm_up import share_percent
from isthmus_mcp_bridge.catalog.workloads import PlacedEndpoint, arrange, weighing
from isthmus_mcp_bridge.model import (
    ORDINARY_WEIGHT,
    EndpointClaim,
    EndpointKey,
    MergedService,
    ServiceClaim,
    ServiceKey,
    Workload,
    workload_order,
)

Choose = Callable[[Mapping[EndpointKey, Gathered]], Mapping[EndpointKey, Gathered]]
"""Takes everything that is claimed about a service's endpoints, returns those that are published."""


def fold(
    key: ServiceKey,
    claims: Sequence[ServiceClaim],
    rules: MergeRules = DEFAULT_RULES,
    now_ms: int = 0,
    choose: Choose | None = None,
) -> MergedService:
    """The merged service of claims that stand in order of precedence; at least one, each free of violations.

    ``now_ms`` (Unix epoch) decides how far instances are warmed up. ``choose`` says which endpoints are shown (dual mode); all that are up
    otherwise.
    """
    table = resolve_ports(claims)
    gathered = gather(claims, table)
    shown = (
        choose(gathered)
        if choose is not None
        else {one: found for one, found in gathered.items() if found.is_up(rules)}
    )
    endpoints = [_place(endpoint, found, rules, now_ms) for endpoint, found in shown.items()]
    arrangement = arrange([port.name for port in table.ports], endpoints)
    kept = arrangement.ports if endpoints else {port.name for port in table.ports}
    created = [claim.created_ms for claim in claims if claim.created_ms is not None]
    return MergedService(
        key=key,
        ports=tuple(sorted((port for port in table.ports if port.name in kept), key=lambda port: port.number)),
        workloads=_with_reduced_weights(arrangement.workloads),
        addresses=next((tuple(sorted(set(claim.addresses))) for claim in claims if claim.addresses), ()),
        raw_names=tuple(sorted({name for claim in claims for name in claim.raw_names})),
        created_ms=min(created, default=0),
        conflicts=(*table.conflicts, *arrangement.conflicts),
        raw_labels=tuple(sorted({pair for claim in claims for pair in claim.raw_labels})),
    )


def _place(key: EndpointKey, gathered: Gathered, rules: MergeRules, now_ms: int) -> PlacedEndpoint:
    claims = gathered.claims
    if len(claims) == 1 and claims[0].warm_up is None:  # as most are
        return _place_one(key, claims[0], gathered.service_ports)
    weight = fields.weight(claims, rules)[0]
    warm_up = next((claim.warm_up for claim in claims if claim.warm_up is not None), None)
    if warm_up is not None:
        weight = max(1, weight * share_percent(warm_up, now_ms) // 100)
    return PlacedEndpoint(
        port=key.port,
        service_ports=frozenset(gathered.service_ports),
        workload=Workload(
            address=key.address,
            ports=(),
            network=key.network,
            labels=fields.labels(claims, rules)[0],
            locality=fields.locality(claims)[0],
            weight=weight,
            service_account=fields.service_account(claims)[0],
        ),
    )


def _place_one(key: EndpointKey, claim: EndpointClaim, service_ports: set[str]) -> PlacedEndpoint:
    """What ``_place`` makes of a single claim, without asking for each field who wins it."""
    weight = ORDINARY_WEIGHT if claim.weight is None else claim.weight
    labels = claim.labels if len(claim.labels) < 2 else tuple(sorted(claim.labels))
    workload = Workload(key.address, (), key.network, labels, claim.locality, weight, claim.service_account)
    return PlacedEndpoint(key.port, frozenset(service_ports), workload)


def _with_reduced_weights(workloads: Sequence[Workload]) -> tuple[Workload, ...]:
    """Weights in lowest terms; none at all when they are equal, which is how Istio spells that."""
    weights = {workload.weight for workload in workloads}
    if len(weights) <= 1:
        return tuple(sorted((weighing(one, 0) for one in workloads), key=workload_order))
    divisor = math.gcd(*weights)
    return tuple(sorted((weighing(one, one.weight // divisor) for one in workloads), key=workload_order))
