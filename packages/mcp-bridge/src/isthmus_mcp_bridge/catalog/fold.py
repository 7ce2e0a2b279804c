"""Folds what several registries claim about one service into one merged service.

Which endpoints are published and what each field is, ``fields`` decides by the rules; here the claims are gathered by
endpoint and the results put together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.ports import PortTable, resolve_ports
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


@dataclasses.dataclass(slots=True)
class Gathered:
    """All claims about one endpoint, in order of precedence, and the service ports that it serves.

    ``origins`` are the indices of the service claims that the endpoint's claims stand in.
    """

    claims: list[EndpointClaim] = dataclasses.field(default_factory=list)
    origins: list[int] = dataclasses.field(default_factory=list)
    service_ports: set[str] = dataclasses.field(default_factory=set)


def fold(
    key: ServiceKey, claims: Sequence[ServiceClaim], rules: MergeRules = DEFAULT_RULES, now_ms: int = 0
) -> MergedService:
    """The merged service of claims that stand in order of precedence; at least one, each free of violations.

    ``now_ms`` (Unix epoch) decides how far instances are warmed up.
    """
    table = resolve_ports(claims)
    endpoints = [
        _place(endpoint, found, rules, now_ms)
        for endpoint, found in gather(claims, table).items()
        if fields.is_up(found.claims, rules)
    ]
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


def gather(claims: Sequence[ServiceClaim], table: PortTable) -> dict[EndpointKey, Gathered]:
    """The claims by endpoint; those of a port that had to be left out are not among them."""
    protocols = {port.name: port.protocol for port in table.ports}
    found: dict[EndpointKey, Gathered] = {}
    for index, claim in enumerate(claims):
        for endpoint in claim.endpoints:
            name = table.names.get((index, endpoint.service_port))
            if name is not None:
                key = EndpointKey(endpoint.network, endpoint.address, endpoint.port, protocols[name])
                gathered = found.get(key)
                if gathered is None:
                    found[key] = Gathered([endpoint], [index], {name})
                else:
                    gathered.claims.append(endpoint)
                    gathered.origins.append(index)
                    gathered.service_ports.add(name)
    for gathered in found.values():
        if len(gathered.claims) > 1:
            _order(gathered)
    return found


def _order(gathered: Gathered) -> None:
    """Put several claims about one endpoint into their order: by precedence, then whatever is the same everywhere."""
    pairs = sorted(
        zip(gathered.origins, gathered.claims, strict=True), key=lambda pair: (pair[0], _claim_order(pair[1]))
    )
    gathered.claims = [claim for _, claim in pairs]
    gathered.origins = [index for index, _ in pairs]


def _claim_order(claim: EndpointClaim) -> tuple[object, ...]:
    """A total order of the claims of one source, so that doubles in one registry fold the same way everywhere."""
    weight = -1 if claim.weight is None else claim.weight
    warm_up = () if claim.warm_up is None else dataclasses.astuple(claim.warm_up)
    return (claim.raw_id, claim.network, claim.address, claim.port, claim.presence, weight, claim.labels,
            claim.locality, claim.service_account, claim.service_port, warm_up, claim.side, claim.instance)  # fmt: skip


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
