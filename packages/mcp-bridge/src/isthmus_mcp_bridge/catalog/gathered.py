"""Gathers the claims about one service by endpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.ports import PortTable
from isthmus_mcp_bridge.catalog.rules import MergeRules
from isthmus_mcp_bridge.model import EndpointClaim, EndpointKey, ServiceClaim


@dataclasses.dataclass(slots=True)
class Gathered:
    """All claims about one endpoint, in order of precedence, and the service ports that it serves.

    ``origins`` are the indices of the service claims that the endpoint's claims stand in.
    """

    claims: list[EndpointClaim] = dataclasses.field(default_factory=list)
    origins: list[int] = dataclasses.field(default_factory=list)
    service_ports: set[str] = dataclasses.field(default_factory=set)

    def is_up(self, rules: MergeRules) -> bool:
        """Whether the endpoint takes traffic."""
        return fields.is_up(self.claims, rules)


def united(parts: Sequence[Gathered]) -> Gathered:
    """The claims about several addresses of one instance as one."""
    if len(parts) == 1:
        return parts[0]
    found = Gathered(
        [claim for part in parts for claim in part.claims],
        [origin for part in parts for origin in part.origins],
        set().union(*(part.service_ports for part in parts)),
    )
    _order(found)
    return found


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
