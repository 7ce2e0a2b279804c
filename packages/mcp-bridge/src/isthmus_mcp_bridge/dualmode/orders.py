"""Which order of preference counts for an instance: its policy's, by override, by a rule's share or by default. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.dualmode.policy import DEFAULT_ORDER, Choice, Order, Policy, View
from isthmus_mcp_bridge.model import Side

OVERRIDE = "override"
"""The rule of an instance with an order of its own."""
PREFER = "prefer"
"""The rule of an instance that no share holds."""
_ROUNDING = 1e-9

Sides = Mapping[Side, "Ordered"]
"""The order for the consumers of each side: NATIVE are those with an SDK, MESH those with a sidecar."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ordered:
    """An order, the rule it is from, and the policy; None: there is none, or it says nothing for this side."""

    order: Order = DEFAULT_ORDER
    rule: str = ""
    policy: Policy | None = None


UNRULED = Ordered()


def governing(policies: Iterable[Policy], instance: Instance) -> Policy | None:
    """The policy that counts for the instance."""
    found = (policy for policy in policies if policy.selects(instance))
    return min(found, key=lambda policy: policy.precedence(instance.service.namespace), default=None)


def orders(policies: Sequence[Policy], instances: Sequence[Instance]) -> list[Sides]:
    """The orders of each instance, in the order of ``instances``, which are all of one service and protocol."""
    groups: dict[Policy | None, list[int]] = {}
    for index, instance in enumerate(instances):
        groups.setdefault(governing(policies, instance), []).append(index)
    found: list[dict[Side, Ordered]] = [{} for _ in instances]
    for policy, members in groups.items():
        for side in Side:
            shares = _orders(policy, side, [instances[index] for index in members])
            for index, ordered in zip(members, shares, strict=True):
                found[index][side] = ordered
    return list(found)


def _orders(policy: Policy | None, side: Side, instances: Sequence[Instance]) -> list[Ordered]:
    """The orders of all instances that a policy governs, for one side."""
    if policy is None:
        return [UNRULED] * len(instances)
    view = policy.sdk if side is Side.NATIVE else policy.mesh
    own = _overrides(policy, side)
    default = Ordered(complete(view.prefer), PREFER, policy) if view else UNRULED
    found = [_override(policy, own, instance) or default for instance in instances]
    free = [index for index, ordered in enumerate(found) if ordered is default]
    for rule, taken in zip(view.rules, shares(view, policy.gateway, [instances[index] for index in free]), strict=True):
        ordered = Ordered(complete(rule.prefer), rule.name, policy)
        for index in taken:
            found[free[index]] = ordered
    return found


def complete(order: Order) -> Order:
    """The order with what it does not name, so that nothing is hidden that is the only one up."""
    return order + tuple(choice for choice in DEFAULT_ORDER if choice not in order)


def _overrides(policy: Policy, side: Side) -> dict[str, Order]:
    found = ((one.instance, one.sdk if side is Side.NATIVE else one.mesh) for one in policy.overrides)
    return {instance: order for instance, order in found if order}


def _override(policy: Policy, own: Mapping[str, Order], instance: Instance) -> Ordered | None:
    if not own:
        return None
    names = (instance.id, *(str(address) for address in (instance.native, instance.mesh) if address is not None))
    order = next((own[name] for name in names if name in own), None)
    return None if order is None else Ordered(complete(order), OVERRIDE, policy)


def shares(view: View, gateway: Address | None, instances: Sequence[Instance]) -> list[list[int]]:
    """The indices of the instances that each rule takes.

    Each rule takes from what those before it left, first the instances that have the address it prefers, in an order by hash.
    """
    left = sorted(range(len(instances)), key=lambda index: _rank(instances[index]))
    taken: list[list[int]] = []
    before, percent = 0, 0.0
    for rule in view.rules:
        percent += rule.percent
        after = min(len(instances), math.ceil(len(instances) * percent / 100 - _ROUNDING))
        left.sort(key=lambda index: not has(instances[index], rule.prefer[0], gateway))
        taken.append(left[: after - before])
        left = left[after - before :]
        left.sort(key=lambda index: _rank(instances[index]))
        before = after
    return taken


def has(instance: Instance, choice: Choice, gateway: Address | None) -> bool:
    """Whether there is such an address, up or not."""
    return address_of(instance, choice, gateway) is not None


def address_of(instance: Instance, choice: Choice, gateway: Address | None) -> Address | None:
    """The address that a choice stands for."""
    if choice is Choice.GATEWAY:
        return gateway
    return instance.native if choice is Choice.NATIVE else instance.mesh


def _rank(instance: Instance) -> tuple[bytes, str]:
    return hashlib.blake2b(instance.id.encode(), digest_size=8).digest(), instance.id
