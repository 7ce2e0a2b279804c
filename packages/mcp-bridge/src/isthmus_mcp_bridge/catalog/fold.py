"""Folds what several registries claim about one service into one merged service.

Per endpoint: an OFFLINE claim wins over everything, else one UP claim is enough. Weight, locality and service account
come from the first source (by precedence) that says something; labels are united, the first source wins per key.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from isthmus_mcp_bridge.catalog.ports import PortTable, resolve_ports
from isthmus_mcp_bridge.catalog.workloads import PlacedEndpoint, arrange
from isthmus_mcp_bridge.model import (
    ORDINARY_WEIGHT,
    EndpointClaim,
    EndpointKey,
    MergedService,
    Presence,
    ServiceClaim,
    ServiceKey,
    Workload,
)


@dataclasses.dataclass(slots=True)
class _Gathered:
    """All claims about one endpoint, in order of precedence, and the service ports that it serves."""

    claims: list[EndpointClaim] = dataclasses.field(default_factory=list)
    service_ports: set[str] = dataclasses.field(default_factory=set)


def fold(key: ServiceKey, claims: Sequence[ServiceClaim]) -> MergedService:
    """The merged service of claims that stand in order of precedence; at least one, each free of violations."""
    table = resolve_ports(claims)
    endpoints = [_place(endpoint, found) for endpoint, found in _gather(claims, table).items() if _is_up(found.claims)]
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
    )


def _gather(claims: Sequence[ServiceClaim], table: PortTable) -> dict[EndpointKey, _Gathered]:
    protocols = {port.name: port.protocol for port in table.ports}
    found: dict[EndpointKey, _Gathered] = {}
    for index, claim in enumerate(claims):
        for endpoint in sorted(claim.endpoints, key=_claim_order):
            name = table.names.get((index, endpoint.service_port))
            if name is not None:
                key = EndpointKey(endpoint.network, endpoint.address, endpoint.port, protocols[name])
                gathered = found.setdefault(key, _Gathered())
                gathered.claims.append(endpoint)
                gathered.service_ports.add(name)
    return found


def _claim_order(claim: EndpointClaim) -> tuple[object, ...]:
    """A total order of the claims of one source, so that doubles in one registry fold the same way everywhere."""
    weight = -1 if claim.weight is None else claim.weight
    return (claim.raw_id, claim.network, claim.address, claim.port, claim.presence, weight, claim.labels,
            claim.locality, claim.service_account, claim.service_port)  # fmt: skip


def _is_up(claims: Sequence[EndpointClaim]) -> bool:
    said = {claim.presence for claim in claims}
    return Presence.OFFLINE not in said and Presence.UP in said


def _place(key: EndpointKey, gathered: _Gathered) -> PlacedEndpoint:
    claims = gathered.claims
    labels: dict[str, str] = {}
    for claim in reversed(claims):
        labels.update(claim.labels)
    return PlacedEndpoint(
        port=key.port,
        service_ports=frozenset(gathered.service_ports),
        workload=Workload(
            address=key.address,
            ports=(),
            network=key.network,
            labels=tuple(sorted(labels.items())),
            locality=next((claim.locality for claim in claims if claim.locality), ""),
            weight=next((claim.weight for claim in claims if claim.weight is not None), ORDINARY_WEIGHT),
            service_account=next((claim.service_account for claim in claims if claim.service_account), ""),
        ),
    )


def _with_reduced_weights(workloads: Sequence[Workload]) -> tuple[Workload, ...]:
    """Weights in lowest terms; none at all when they are equal, which is how Istio spells that."""
    weights = {workload.weight for workload in workloads}
    if len(weights) <= 1:
        return tuple(sorted(dataclasses.replace(workload, weight=0) for workload in workloads))
    divisor = math.gcd(*weights)
    return tuple(sorted(dataclasses.replace(workload, weight=workload.weight // divisor) for workload in workloads))
