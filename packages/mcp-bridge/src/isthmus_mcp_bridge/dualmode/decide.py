"""What the consumers of each side are shown of each instance: (policies, instances, now, what they were shown) -> what they are.

Rules:

- The first address of the order that is up is shown; a gateway counts as up.
- When that changes, the new address is shown first and the old one beside it until the policy's overlap is over. An address that is
  down, or that the instance no longer has, is withdrawn at once.
- As long as an address is up, one is shown.
- Once overlaps are over, what is shown depends on the policies and instances alone, so replicas decide alike. Pure: no clock, no
  randomness.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.dualmode.orders import Ordered, address_of, orders
from isthmus_mcp_bridge.dualmode.policy import OVERLAP_S, Choice, Policy
from isthmus_mcp_bridge.model import ServiceKey, Side

Identity = tuple[ServiceKey, str, str]
"""An instance's service, protocol and id."""


@dataclasses.dataclass(frozen=True, slots=True)
class Draining:
    """An address that stays valid until a moment (seconds, on the clock of ``now``)."""

    address: Address
    until: float
    choice: Choice


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What consumers of one side are shown of an instance; ``choice`` and ``address`` are None when nothing is up."""

    choice: Choice | None = None
    address: Address | None = None
    draining: tuple[Draining, ...] = ()
    ordered: Ordered = dataclasses.field(default_factory=Ordered)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All valid addresses, the one to prefer first."""
        return (*(() if self.address is None else (self.address,)), *(one.address for one in self.draining))


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """One instance with what the consumers of both sides are shown."""

    instance: Instance
    sdk: Shown
    mesh: Shown


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """All instances, by identity, sorted."""

    instances: Mapping[Identity, Decided] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def next_due(self) -> float | None:
        """When an overlap ends; None while there is none."""
        sides = (side for one in self.instances.values() for side in (one.sdk, one.mesh))
        return min((each.until for side in sides for each in side.draining), default=None)


NOTHING_DECIDED = Decision()


def decide(policies: Sequence[Policy], instances: Iterable[Instance], now: float, previous: Decision) -> Decision:
    """See the module. Identities must differ."""
    groups: dict[tuple[ServiceKey, str], list[Instance]] = {}
    for instance in instances:
        groups.setdefault((instance.service, instance.protocol), []).append(instance)
    found: dict[Identity, Decided] = {}
    past = _Past(previous, ((one.service, one.protocol, one.id) for members in groups.values() for one in members))
    for (service, protocol), members in sorted(groups.items(), key=lambda group: group[0]):
        members.sort(key=lambda instance: instance.id)
        for instance, sides in zip(members, orders(policies, members), strict=True):
            identity = (service, protocol, instance.id)
            before = past.of(identity, instance)
            found[identity] = Decided(
                instance,
                sdk=_show(instance, sides[Side.NATIVE], now, None if before is None else before.sdk),
                mesh=_show(instance, sides[Side.MESH], now, None if before is None else before.mesh),
            )
    return Decision(MappingProxyType(found))


class _Past:
    """What was decided before, found by identity, else by an address: an instance gets its name when its sidecar comes."""

    def __init__(self, previous: Decision, identities: Iterable[Identity]) -> None:
        self._known = previous.instances
        self._renamed: dict[tuple[ServiceKey, str, Address], Decided] = {}
        for identity in previous.instances.keys() - set(identities):
            one = previous.instances[identity]
            for address in (one.instance.native, one.instance.mesh):
                if address is not None:
                    self._renamed[identity[0], identity[1], address] = one

    def of(self, identity: Identity, instance: Instance) -> Decided | None:
        """What was decided about the instance."""
        if identity in self._known or not self._renamed:
            return self._known.get(identity)
        addresses = [address for address in (instance.native, instance.mesh) if address is not None]
        found = (self._renamed.get((identity[0], identity[1], address)) for address in addresses)
        return next((one for one in found if one is not None), None)


def _show(instance: Instance, ordered: Ordered, now: float, before: Shown | None) -> Shown:
    gateway = ordered.policy.gateway if ordered.policy is not None else None
    choice = next((each for each in ordered.order if is_up(instance, each, gateway)), None)
    address = None if choice is None else address_of(instance, choice, gateway)
    if before is None:
        return Shown(choice, address, (), ordered)
    overlap_s = ordered.policy.overlap_s if ordered.policy is not None else OVERLAP_S
    left = [*before.draining]
    if before.address is not None and before.choice is not None and before.address != address:
        left = [one for one in left if one.address != before.address]
        left.insert(0, Draining(before.address, now + overlap_s, before.choice))
    draining = (one for one in left if one.address != address and one.until > now and _is_valid(one, instance))
    return Shown(choice, address, tuple(draining), ordered)


def is_up(instance: Instance, choice: Choice, gateway: Address | None) -> bool:
    """Whether the address that a choice stands for can be called."""
    if choice is Choice.GATEWAY:
        return gateway is not None
    up = instance.native_up if choice is Choice.NATIVE else instance.mesh_up
    return up and address_of(instance, choice, gateway) is not None


def _is_valid(one: Draining, instance: Instance) -> bool:
    """Whether the address still takes requests; a gateway that was shown does."""
    if one.choice is Choice.GATEWAY:
        return True
    pairs = ((instance.native, instance.native_up), (instance.mesh, instance.mesh_up))
    return (one.address, True) in pairs
