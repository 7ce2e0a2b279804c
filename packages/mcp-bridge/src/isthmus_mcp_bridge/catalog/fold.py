"""Folds what several registries claim about one service into one merged service.

Which endpoints are published and what each field is, ``fields`` decides by the rules; here the results for all endpoints are put
together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.gathered import Gathered, gather
from isthmus_mcp_bridge.catalog.ports import PortTable, resolve_ports
from isthmus_mcp_bridge.catalog.rules import DEFAULT_RULES, MergeRules
from isthmus_mcp_bridge.catalog.warm_up import share_percent
from isthmus_mcp_bridge.catalog.workloads import Arrangement, PlacedEndpoint, arrange, weighing
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
    found = arranged(claims, rules, now_ms, choose)
    return assembled(key, claims, found, reduced_workloads(found))


@dataclasses.dataclass(frozen=True, slots=True)
class Arranged:
    """A fold before its weights are reduced; ``shown``: whether any endpoint is published."""

    table: PortTable
    arrangement: Arrangement
    shown: bool


def arranged(
    claims: Sequence[ServiceClaim], rules: MergeRules, now_ms: int = 0, choose: Choose | None = None
) -> Arranged:
    """The first half of ``fold``."""
    table = resolve_ports(claims)
    gathered = gather(claims, table)
    shown = (
        choose(gathered)
        if choose is not None
        else {one: found for one, found in gathered.items() if found.is_up(rules)}
    )
    endpoints = [_place(endpoint, found, rules, now_ms) for endpoint, found in shown.items()]
    return Arranged(table, arrange([port.name for port in table.ports], endpoints), bool(endpoints))


def assembled(
    key: ServiceKey, claims: Sequence[ServiceClaim], found: Arranged, workloads: tuple[Workload, ...]
) -> MergedService:
    """The second half of ``fold``; ``workloads`` are those of the arrangement, sorted, with their final weights."""
    table, arrangement = found.table, found.arrangement
    kept = arrangement.ports if found.shown else {port.name for port in table.ports}
    created = [claim.created_ms for claim in claims if claim.created_ms is not None]
    return MergedService(
        key=key,
        ports=tuple(sorted((port for port in table.ports if port.name in kept), key=lambda port: port.number)),
        workloads=workloads,
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


@dataclasses.dataclass(frozen=True, slots=True)
class Reduction:
    """How weights are published: in lowest terms; not at all when they are equal, which is how Istio spells that.

    ``equal`` is the weight that all workloads have, or 0 where they differ.
    """

    equal: int
    divisor: int

    def reduced(self, workloads: Iterable[Workload]) -> list[Workload]:
        """The workloads as they are published, sorted."""
        weighed = (weighing(one, 0 if self.equal else one.weight // self.divisor) for one in workloads)
        return sorted(weighed, key=workload_order)

    def original(self, weight: int) -> int:
        """The weight of which a published one was made."""
        return self.equal or weight * self.divisor


def reduction(weights: Collection[int]) -> Reduction:
    """How these weights (positive, each named at least once) are published."""
    distinct = set(weights)
    return Reduction(next(iter(distinct), 1), 1) if len(distinct) <= 1 else Reduction(0, math.gcd(*distinct))


def reduced_workloads(found: Arranged) -> tuple[Workload, ...]:
    """The workloads of an arrangement as they are published."""
    workloads = found.arrangement.workloads
    return tuple(reduction({one.weight for one in workloads}).reduced(workloads))
