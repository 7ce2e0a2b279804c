"""Which objects are in use: what breaks nothing is taken, and for the rest the last good form stays.

Rules:
- Whoever came first keeps a host name or a listener (`claims`).
- A new or changed VirtualService that points to a host, subset or port that does not exist is held back: the form
  before the change stays in use, or none.
- A VirtualService in use whose destination disappears stays in use; requests for that destination get 503.
- A subset that disappears while a VirtualService in use routes to it stays as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from isthmus_controlplane.model.claims import Built, by_host, claim_services
from isthmus_controlplane.model.composed import keys_of, place_of
from isthmus_controlplane.model.delegation import is_delegate, with_delegates
from isthmus_controlplane.model.dual_mode import policy_warnings
from isthmus_controlplane.model.gateway import (
    GATEWAY_API_GATEWAY,
    MESH_GATEWAY,
    gateways_of,
    index_bindings,
    is_in_mesh,
    name_of,
)
from isthmus_controlplane.model.gateway_api import (
    GATEWAY_API_KINDS,
    RouteStatus,
    attach_routes,
    gateway_status,
    listeners_of,
)
from isthmus_controlplane.model.kinds import DUAL_MODE
from isthmus_controlplane.model.model import EMPTY_MODEL, MeshSettings, Model, find_service, full_host, subsets_of
from isthmus_controlplane.model.policies import POLICY_KINDS, index_policies
from isthmus_controlplane.model.references import RuleIndex, dangling, references_of, source_labels
from isthmus_controlplane.model.rule_aspects import compared_labels, considers_locality, uses_mutual_tls
from isthmus_controlplane.model.service import Service
from isthmus_controlplane.model.sidecar_warnings import sidecar_warnings
from isthmus_controlplane.model.workload_group import group_warnings
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem

Objects = Mapping[ObjectKey, ConfigObject]
KEPT_SUFFIX = "#kept"  # no name of a user has it


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """The outcome of admitting a set of objects.

    Attributes:
        model: what is served.
        in_use: the form of each object that is served; differs from the submitted one for objects held back.
        held: objects whose submitted form (or removal) is not, or not wholly, in use.
        problems: why, sorted; also lesser ones that hold nothing back.
        ranks: order of first arrival.
        built: services by ServiceEntry, so that those of unchanged entries need not be built again.
        attached: conditions of HTTPRoutes, GRPCRoutes and Gateways of the Gateway API.
        hosts: services of which only the instances differ from the admission before; None where more may differ.
    """

    model: Model
    in_use: Objects
    held: frozenset[ObjectKey]
    problems: tuple[Problem, ...]
    ranks: Mapping[ObjectKey, int]
    built: Built = dataclasses.field(default_factory=dict, compare=False, repr=False)
    hosts: frozenset[str] | None = dataclasses.field(default=None, compare=False)
    attached: Mapping[ObjectKey, RouteStatus] = dataclasses.field(default_factory=dict)


NOTHING_ADMITTED = Admission(EMPTY_MODEL, {}, frozenset(), (), {})


def admit(objects: Objects, previous: Admission, mesh: MeshSettings) -> Admission:
    """Decide which objects are in use, given what was in use before. Pure; the order of ``objects`` does not matter."""
    ranks = rank(objects, previous.ranks)
    ordered = sorted(objects.values(), key=lambda obj: ranks[obj.key])
    kinds = {kind: [obj for obj in ordered if obj.key.kind == kind] for kind in {obj.key.kind for obj in ordered}}
    claimed = claim_services(kinds.get("ServiceEntry", ()), kinds.get("WorkloadEntry", ()), previous.built)
    rules = kinds.get("DestinationRule", [])
    routes = _Routes(claimed.services, previous)
    routes.admit(kinds.get("VirtualService", ()), by_host(rules, claimed.services, "host")[0])
    routes.report_unused(kinds.get("VirtualService", ()))
    kept = _keep_used_subsets(rules, routes, previous)
    rule_index, rule_problems = by_host(kept.rules, claimed.services, "host")
    in_mesh = [obj for obj in routes.in_use if is_in_mesh(obj)]
    route_index, route_problems = by_host(in_mesh, claimed.services, "hosts")
    routes.report_dangling(rule_index)
    routes.report_unknown_gateways(kinds.get("Gateway", ()))
    problems = {*claimed.problems, *rule_problems, *route_problems, *routes.problems, *kept.problems}
    policies = sorted(kinds.get(DUAL_MODE, ()), key=lambda obj: obj.key)
    problems.update(sidecar_warnings(kinds.get("Sidecar", ()), claimed.services))
    problems.update(group_warnings(kinds.get("WorkloadGroup", ()), kinds.get("WorkloadEntry", ())))
    problems.update(policy_warnings(policies, claimed.services))
    others = [obj for obj in ordered if obj.key.kind not in {"DestinationRule", "VirtualService"}]
    chosen_by_label = (obj for obj in ordered if obj.key.kind in POLICY_KINDS)
    classes, kubernetes = kinds.get("GatewayClass", ()), kinds.get(GATEWAY_API_GATEWAY, ())
    gateways = {gateway.key: gateway_status(gateway, classes) for gateway in kubernetes}
    taken = (gateway for gateway in kubernetes if not gateways[gateway.key].accepted[0])
    listeners = [listener for gateway in taken for listener in listeners_of(gateway)]
    problems.update(_not_taken(kubernetes, gateways))
    by_label = index_policies([*chosen_by_label, *listeners], mesh.root_namespace, source_labels(routes.in_use))
    attached = attach_routes(
        (obj for obj in ordered if obj.key.kind in GATEWAY_API_KINDS),
        [*kinds.get("Gateway", ()), *listeners],
        claimed.services,
        kinds.get("ReferenceGrant", ()),
    )
    problems.update(attached.problems)
    bindings = index_bindings([*routes.in_use, *attached.bound])
    for host, found in attached.mesh.items():
        problems.update(_overruled(route_index.get(host, ()), found, host))
        route_index[host] = (*route_index.get(host, ()), *found)
    return Admission(
        model=Model(
            mesh,
            claimed.services,
            route_index,
            rule_index,
            tuple(policies),
            by_label,
            bindings,
            any(map(considers_locality, kept.rules)),
            any(map(uses_mutual_tls, kept.rules)),
            frozenset().union(*map(compared_labels, kept.rules)),
        ),
        in_use=MappingProxyType({obj.key: obj for obj in (*others, *kept.rules, *routes.delegates, *routes.in_use)}),
        held=claimed.losers | routes.held | kept.held,
        problems=tuple(sorted(problems)),
        ranks=ranks,
        built=claimed.built,
        attached={**gateways, **attached.status},
    )


def _not_taken(gateways: Iterable[ConfigObject], status: Mapping[ObjectKey, RouteStatus]) -> Iterator[Problem]:
    """Say which Gateways of the Gateway API are of a class that is not carried out here."""
    for gateway in gateways:
        path, _, message = status[gateway.key].accepted[1].partition(": ")
        if message:
            yield Problem(f"{gateway.origin} ({gateway.key})", path, message)


def _overruled(virtual: Iterable[ConfigObject], routes: Iterable[ConfigObject], host: str) -> Iterator[Problem]:
    """Say which routes of the Gateway API stand behind a VirtualService for the same host."""
    first = next(iter(virtual), None)
    for obj in routes if first is not None else ():
        for key in keys_of(obj):
            message = (
                f"{host!r} is already governed by {first.key if first else ''}, which wins: merge the two or remove one"
            )
            yield Problem(f"{obj.origin} ({key})", "spec.parentRefs", message)


def rank(objects: Objects, old: Mapping[ObjectKey, int]) -> Mapping[ObjectKey, int]:
    """Number the objects by first arrival: known ones keep their rank, newcomers follow, the oldest first."""
    if objects.keys() == old.keys():
        return old
    kept = {key: rank for key, rank in old.items() if key in objects}
    first = max(kept.values(), default=-1) + 1
    new = sorted((obj for key, obj in objects.items() if key not in kept), key=_age)
    return MappingProxyType(kept | {obj.key: first + position for position, obj in enumerate(new)})


def _age(obj: ConfigObject) -> tuple[float, ObjectKey]:
    return (obj.create_time if obj.create_time is not None else float("inf"), obj.key)


class _Routes:
    """The VirtualServices in use, while one admission is made."""

    def __init__(self, services: Mapping[str, Service], previous: Admission) -> None:
        self.services = services
        self.previous = previous
        self.in_use: list[ConfigObject] = []
        self.problems: list[Problem] = []
        self.held: frozenset[ObjectKey] = frozenset()
        self._used: set[ObjectKey] = set()
        self._submitted: dict[ObjectKey, ConfigObject] = {}

    def admit(self, objects: Iterable[ConfigObject], rules: RuleIndex) -> None:
        """Take each VirtualService with what it delegates, or the form of it that was in use before."""
        self._submitted = {obj.key: obj for obj in objects}
        for submitted in self._submitted.values():
            if not is_delegate(submitted):
                self._admit(submitted, rules)

    def _admit(self, submitted: ConfigObject, rules: RuleIndex) -> None:
        last = self.previous.in_use.get(submitted.key)
        delegated = with_delegates(submitted, self._submitted, self.services)
        obj = delegated.obj
        if last is not None and last.version == obj.version and not delegated.missing:
            obj = last if last == obj else obj  # known by identity to what was made from it
            found = []
        else:
            found = [*delegated.missing, *((each.path, each.message) for each in dangling(obj, self.services, rules))]
        self.problems.extend(delegated.left_out)
        if not found:
            self._use(obj)
            self._report_unknown_hosts(obj)
            return
        outcome = "the form before this change stays in use" if last is not None else "this object is not in use"
        held = [(path, f"{message}; until then {outcome}") for path, message in found]
        self.held |= {submitted.key}
        self._report(submitted, held[: len(delegated.missing)])
        self.held |= self._report(obj, held[len(delegated.missing) :])
        if last is not None:
            self._use(last)

    def _use(self, obj: ConfigObject) -> None:
        self.in_use.append(obj)
        self._used.update(keys_of(obj))

    @property
    def delegates(self) -> list[ConfigObject]:
        """The objects without hosts whose routes are in use, as they were submitted."""
        return [obj for key, obj in self._submitted.items() if key in self._used and is_delegate(obj)]

    def report_unused(self, objects: Iterable[ConfigObject]) -> None:
        """Say which objects without hosts nothing leads to."""
        for obj in objects:
            if is_delegate(obj) and obj.key not in self._used:
                self._report(
                    obj,
                    [
                        (
                            "spec.hosts",
                            "is empty, and no VirtualService in use delegates to this one: give hosts or do that",
                        )
                    ],
                )

    def report_dangling(self, rules: RuleIndex) -> None:
        """Say which destinations of objects in use are gone."""
        for obj in self.in_use:
            found = tuple(dangling(obj, self.services, rules))
            if found and obj.key not in self.held:
                gone = "until then requests for it get 503, and connections are closed"
                self.held |= {obj.key} | self._report(obj, [(each.path, f"{each.message}; {gone}") for each in found])

    def report_unknown_gateways(self, gateways: Iterable[ConfigObject]) -> None:
        """Say which gateways do not exist."""
        known = {MESH_GATEWAY, *map(name_of, gateways)}
        for obj in self.in_use:
            unknown = [
                (f"spec.gateways[{index}]", f"no Gateway is {name}: these routes take nothing there until one is")
                for index, name in enumerate(gateways_of(obj))
                if name not in known
            ]
            self._report(obj, unknown)

    def _report_unknown_hosts(self, obj: ConfigObject) -> None:
        if not is_in_mesh(obj):
            return
        spec: Any = obj.spec
        unknown = [
            (
                f"spec.hosts[{index}]",
                f"no ServiceEntry has the host {host!r}: these routes take no requests until one has",
            )
            for index, host in enumerate(spec.hosts)
            if find_service(self.services, host, obj.key.namespace) is None
        ]
        self._report(obj, unknown)

    def _report(self, obj: ConfigObject, found: Iterable[tuple[str, str]]) -> frozenset[ObjectKey]:
        """Say what is wrong where it was written; returns the objects that have to be mended."""
        places = [(place_of(obj, path), message) for path, message in found]
        self.problems.extend(Problem(f"{place.origin} ({place.key})", place.path, message) for place, message in places)
        return frozenset(place.key for place, _ in places)


@dataclasses.dataclass(frozen=True, slots=True)
class _KeptRules:
    rules: tuple[ConfigObject, ...]
    problems: tuple[Problem, ...]
    held: frozenset[ObjectKey]


def _keep_used_subsets(rules: list[ConfigObject], routes: _Routes, previous: Admission) -> _KeptRules:
    """Add to the DestinationRules those subsets that are gone but which a VirtualService in use routes to."""
    now = {(host, name) for host, name, _ in _subsets(rules, routes.services)}
    users = {
        (reference.host, reference.subset): obj.key
        for obj in routes.in_use
        for reference in references_of(obj, routes.services)
        if reference.subset and (reference.host, reference.subset) not in now
    }
    current = {rule.key: rule for rule in rules}
    problems: list[Problem] = []
    held: set[ObjectKey] = set()
    before = sorted((obj for obj in previous.in_use.values() if obj.key.kind == "DestinationRule"), key=lambda o: o.key)
    for host, name, rule in _subsets(before, routes.services):
        user = users.pop((host, name), None)
        if user is None:
            continue
        key = _key_for(rule, current.get(rule.key), routes.services)
        named = rule.key._replace(name=rule.key.name.removesuffix(KEPT_SUFFIX))
        held.add(named)
        current[key] = _with_subset(current.get(key), dataclasses.replace(rule, key=key), name)
        message = (
            f"the subset {name!r} was removed, but {user} routes to it: it stays in use until that route is changed"
        )
        problems.append(Problem(f"{rule.origin} ({named})", "spec.subsets", message))
    return _KeptRules(tuple(current.values()), tuple(problems), frozenset(held))


def _key_for(old: ConfigObject, now: ConfigObject | None, services: Mapping[str, Service]) -> ObjectKey:
    """Where to keep subsets of ``old``: in the rule of that name, or beside it when that is for another host now."""
    if now is None or _host(old, services) == _host(now, services):
        return old.key
    return old.key._replace(name=f"{old.key.name}{KEPT_SUFFIX}")


def _host(rule: ConfigObject, services: Mapping[str, Service]) -> str:
    spec: Any = rule.spec
    return full_host(services, spec.host, rule.key.namespace)


def _subsets(rules: Iterable[ConfigObject], services: Mapping[str, Service]) -> list[tuple[str, str, ConfigObject]]:
    """Return (full host, subset name, rule) of all rules."""
    index = by_host(rules, services, "host")[0]
    return [(host, name, rule) for host, holders in index.items() for rule in holders for name in subsets_of(rule)]


def _with_subset(rule: ConfigObject | None, old: ConfigObject, name: str) -> ConfigObject:
    """Return ``rule`` (or, when it is gone, what is left of ``old``) with the subset ``name`` of ``old``."""
    base: Any = (rule or old).spec
    spec = type(base)()
    spec.CopyFrom(base)
    if rule is None:
        del spec.subsets[:]
    spec.subsets.add().CopyFrom(subsets_of(old)[name])
    return dataclasses.replace(rule or old, spec=spec)
