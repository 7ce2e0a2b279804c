"""Finds the instances behind the endpoints of a service: which native and which mesh address are of one instance. Pure.

By the instance's name where both claims have it, else by host: one native and one mesh endpoint of one service port on one IP address
are one instance. Where there are several of a side on a host and no names, nothing is guessed: each endpoint is an instance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.rules import MergeRules
from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.model import EndpointClaim, EndpointKey, Labels, ServiceKey, Side

APPLICATION_LABEL = "app"

Claims = Mapping[EndpointKey, Sequence[EndpointClaim]]
"""All claims about each endpoint, in order of precedence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pairing:
    """An instance and the endpoints that are its addresses."""

    instance: Instance
    native: EndpointKey | None
    mesh: EndpointKey | None

    @property
    def endpoints(self) -> tuple[EndpointKey, ...]:
        """Both, as far as there are both."""
        return tuple(key for key in (self.native, self.mesh) if key is not None)


def find_instances(service: ServiceKey, claims: Claims, rules: MergeRules) -> list[Pairing]:
    """The instances of one service port, sorted by id; every endpoint is of exactly one."""
    sides = {key: _side(found) for key, found in claims.items()}
    pairs = [(native, mesh) for native, mesh in _pairs(claims, sides)]
    paired = {key for pair in pairs for key in pair}
    alone = [key for key in claims if key not in paired]
    pairs += [(key, None) if sides[key] is Side.NATIVE else (None, key) for key in sorted(alone)]
    return _distinct(_pairing(service, *pair, claims, rules) for pair in pairs)


def _distinct(pairings: Iterable[Pairing]) -> list[Pairing]:
    """Sorted by id; where several have one name, all but the first get their address as well."""
    found: dict[str, Pairing] = {}
    for one in sorted(pairings, key=lambda one: (one.instance.id, one.endpoints)):
        if one.instance.id in found:
            name = f"{one.instance.id}@{one.instance.native or one.instance.mesh}"
            one = dataclasses.replace(one, instance=dataclasses.replace(one.instance, id=name))
        found[one.instance.id] = one
    return sorted(found.values(), key=lambda one: one.instance.id)


def _side(claims: Iterable[EndpointClaim]) -> Side:
    return Side.MESH if any(claim.side is Side.MESH for claim in claims) else Side.NATIVE


def _name(claims: Iterable[EndpointClaim]) -> str:
    return next((claim.instance for claim in claims if claim.instance), "")


def _pairs(claims: Claims, sides: Mapping[EndpointKey, Side]) -> list[tuple[EndpointKey | None, EndpointKey | None]]:
    found: list[tuple[EndpointKey | None, EndpointKey | None]] = []
    left = set(claims)
    by_name = (lambda key: _name(claims[key]) or None, lambda key: (key.network, key.address))
    for group_of in by_name:
        groups: dict[object, tuple[list[EndpointKey], list[EndpointKey]]] = {}
        for key in sorted(left):
            group = group_of(key)
            if group is not None:
                groups.setdefault(group, ([], []))[sides[key] is Side.MESH].append(key)
        for natives, meshes in groups.values():
            if len(natives) == len(meshes) == 1 and _agree(claims, natives[0], meshes[0]):
                found.append((natives[0], meshes[0]))
                left -= {natives[0], meshes[0]}
    return found


def _agree(claims: Claims, native: EndpointKey, mesh: EndpointKey) -> bool:
    """Two endpoints with different names are two instances."""
    names = {_name(claims[native]), _name(claims[mesh])} - {""}
    return len(names) < 2


def _pairing(
    service: ServiceKey, native: EndpointKey | None, mesh: EndpointKey | None, claims: Claims, rules: MergeRules
) -> Pairing:
    endpoints = [key for key in (native, mesh) if key is not None]
    addresses = [Address(key.address, key.port) for key in endpoints]
    name = next((name for key in endpoints if (name := _name(claims[key]))), "")
    labels = _labels([claims[key] for key in endpoints], rules)
    instance = Instance(
        service=service,
        protocol=endpoints[0].protocol,
        id=name or str(addresses[0]),
        application=dict(labels).get(APPLICATION_LABEL, ""),
        labels=labels,
        native=None if native is None else addresses[0],
        mesh=None if mesh is None else addresses[-1],
        native_up=native is not None and fields.is_up(claims[native], rules),
        mesh_up=mesh is not None and fields.is_up(claims[mesh], rules),
    )
    return Pairing(instance, native, mesh)


def _labels(found: Sequence[Sequence[EndpointClaim]], rules: MergeRules) -> Labels:
    """The labels of all addresses; where they differ, those of the native one."""
    united: dict[str, str] = {}
    for claims in reversed(found):
        united.update(fields.labels(claims, rules)[0])
    return tuple(sorted(united.items()))
