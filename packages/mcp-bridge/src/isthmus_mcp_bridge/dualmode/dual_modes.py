"""The policies and what was decided by them so far, service by service; part of the catalog. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from isthmus_mcp_bridge.catalog.alarm import Alarms
from isthmus_mcp_bridge.catalog.gathered import Gathered, united
from isthmus_mcp_bridge.catalog.rules import MergeRules
from isthmus_mcp_bridge.dualmode.decide import NOTHING_DECIDED, Decided, Decision, Shown, decide
from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.dualmode.instances import Pairing, find_instances
from isthmus_mcp_bridge.dualmode.policy import Choice, Policy
from isthmus_mcp_bridge.model import ORDINARY_WEIGHT, EndpointClaim, EndpointKey, ServiceKey, Side

Endpoints = Mapping[EndpointKey, Gathered]
Decisions = Mapping[str, Decision]
"""By service port."""


class DualModes:
    """Chooses the endpoints that mesh consumers are shown, and remembers what SDK consumers are shown."""

    def __init__(self) -> None:
        self.policies: tuple[Policy, ...] = ()
        self._decisions: dict[ServiceKey, dict[str, Decision]] = {}
        self._due: Alarms[ServiceKey] = Alarms()
        self._changed: set[ServiceKey] = set()

    @property
    def decisions(self) -> Mapping[ServiceKey, Decisions]:
        """What was decided last about the services that dual mode concerns."""
        return self._decisions

    def replace(self, policies: Iterable[Policy], services: Iterable[ServiceKey]) -> set[ServiceKey]:
        """Take new policies; returns those of the services about which they may decide otherwise."""
        new = tuple(sorted(policies, key=lambda one: (one.namespace, one.name)))
        moved = set(self.policies) ^ set(new)
        self.policies = new
        return {key for key in services if any(_may_concern(policy, key) for policy in moved)}

    def concerned(self, service: ServiceKey) -> bool:
        """Whether a policy may concern the service."""
        return any(_may_concern(policy, service) for policy in self.policies)

    def choose(self, service: ServiceKey, endpoints: Endpoints, rules: MergeRules, now: float) -> Endpoints:
        """The endpoints that mesh consumers are shown, and remember it."""
        decisions, chosen = self.look(service, endpoints, rules, now)
        before = self._decisions.get(service, {})
        if decisions:
            self._decisions[service] = decisions
        else:
            self._decisions.pop(service, None)
        if _sdk_views(before) != _sdk_views(decisions):
            self._changed.add(service)
        times = [due for one in decisions.values() if (due := one.next_due()) is not None]
        self._due.set(service, min(times, default=None))
        return chosen

    def forget(self, service: ServiceKey) -> None:
        """Nobody claims the service any more."""
        if self._decisions.pop(service, None) is not None:
            self._changed.add(service)
        self._due.set(service, None)

    def look(
        self, service: ServiceKey, endpoints: Endpoints, rules: MergeRules, now: float
    ) -> tuple[dict[str, Decision], Endpoints]:
        """What ``choose`` would decide and show."""
        policies = [policy for policy in self.policies if _may_concern(policy, service)]
        if not policies and not any(one.side is Side.MESH for found in endpoints.values() for one in found.claims):
            return {}, {key: found for key, found in endpoints.items() if found.is_up(rules)}
        decisions: dict[str, Decision] = {}
        chosen: dict[EndpointKey, Gathered] = {}
        before = self._decisions.get(service, {})
        for port, members in _by_port(endpoints).items():
            pairings = find_instances(service, {key: found.claims for key, found in members.items()}, rules)
            instances = [one.instance for one in pairings]
            decision = decide(policies, instances, now, before.get(port, NOTHING_DECIDED))
            decisions[port] = decision
            _show(pairings, decision, members, chosen)
        return decisions, chosen

    def next_due(self) -> float | None:
        """When an overlap ends; None while there is none."""
        return self._due.next_due()

    def take_due(self, now: float) -> list[ServiceKey]:
        """The services with an overlap that is over: ``choose`` again."""
        return list(self._due.take_due(now))

    def take_changed(self) -> frozenset[ServiceKey]:
        """The services of which SDK consumers are shown something else since the last call."""
        changed, self._changed = frozenset(self._changed), set()
        return changed

    def show(self, instance: Instance) -> tuple[Address, ...]:
        """The addresses of an instance that SDK consumers are shown, the preferred one first."""
        found = self.find(instance)
        if found is None:
            (found,) = decide(self.policies, [instance], 0.0, NOTHING_DECIDED).instances.values()
        return found.sdk.addresses

    def hidden_by(self, service: ServiceKey, endpoint: EndpointKey) -> str:
        """Why mesh consumers are not shown an endpoint that is up, in words; empty when they are."""
        address = Address(endpoint.address, endpoint.port)
        for decision in self._decisions.get(service, {}).values():
            for one in decision.instances.values():
                if address in (one.instance.native, one.instance.mesh) and address not in one.mesh.addresses:
                    policy = one.mesh.ordered.policy
                    by = "no policy" if policy is None else f"policy {policy.full_name}, rule {one.mesh.ordered.rule}"
                    return f"dual mode: {by}, shows {one.mesh.address} of instance {one.instance.id}"
        return ""

    def find(self, instance: Instance) -> Decided | None:
        """What was decided about an instance that is known by its id or one of its addresses."""
        known = [one for each in self._decisions.get(instance.service, {}).values() for one in each.instances.values()]
        known = [one for one in known if one.instance.protocol == instance.protocol]
        by_id = next((one for one in known if one.instance.id == instance.id), None)
        if by_id is not None:
            return by_id
        addresses = {instance.native, instance.mesh} - {None}
        return next((one for one in known if {one.instance.native, one.instance.mesh} & addresses), None)


def _may_concern(policy: Policy, service: ServiceKey) -> bool:
    return policy.host in ("", service.host) and bool(policy.namespaces & {"*", service.namespace})


def _by_port(endpoints: Endpoints) -> dict[str, dict[EndpointKey, Gathered]]:
    found: dict[str, dict[EndpointKey, Gathered]] = {}
    for key, gathered in endpoints.items():
        found.setdefault(min(gathered.service_ports), {})[key] = gathered
    return dict(sorted(found.items()))


def _show(
    pairings: Sequence[Pairing], decision: Decision, members: Endpoints, chosen: dict[EndpointKey, Gathered]
) -> None:
    """Add what is shown: an instance's endpoint with the claims about both of its addresses; a gateway for all it stands for."""
    by_id = {key[2]: one.mesh for key, one in decision.instances.items()}
    behind: dict[EndpointKey, int] = {}
    for one in pairings:
        shown = by_id[one.instance.id]
        found = united([members[key] for key in one.endpoints])
        for key in one.endpoints:
            if Address(key.address, key.port) in shown.addresses:
                chosen[key] = found
        for gateway in _gateways(shown):
            key = EndpointKey(one.endpoints[0].network, gateway.host, gateway.port, one.instance.protocol)
            behind[key] = behind.get(key, 0) + 1
            claim = EndpointClaim("", gateway.host, gateway.port, "gateway", weight=behind[key] * ORDINARY_WEIGHT)
            chosen[key] = Gathered([claim], [-1], found.service_ports)


def _gateways(shown: Shown) -> list[Address]:
    found = [shown.address] if shown.choice is Choice.GATEWAY and shown.address is not None else []
    return found + [one.address for one in shown.draining if one.choice is Choice.GATEWAY]


def _sdk_views(decisions: Decisions) -> dict[tuple[str, str], tuple[object, ...]]:
    """What SDK consumers are shown, and whether a policy says so, as only then anything is hidden from them."""
    return {
        (port, key[2]): (one.sdk.ordered.policy is not None, one.instance.native, *one.sdk.addresses)
        for port, decision in decisions.items()
        for key, one in decision.instances.items()
    }
