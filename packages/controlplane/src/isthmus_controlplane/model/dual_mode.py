"""What DualMode policies mean beside the services and each other: warnings, none of which holds a policy back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus_controlplane.model.model import find_service, full_host
from isthmus_controlplane.model.service import Service
from isthmus_controlplane.stores.base import ConfigObject, Problem

Specificity = tuple[bool, bool, int]


def policy_warnings(policies: Iterable[ConfigObject], services: Mapping[str, Service]) -> Iterator[Problem]:
    """Yield what users should know about policies in use."""
    ordered = sorted(policies, key=lambda obj: obj.key)
    groups: dict[tuple[str, Specificity], list[ConfigObject]] = {}
    for policy in ordered:
        spec: Any = policy.spec
        yield from _unknown_host(policy, services)
        yield from _beyond_sdks(policy, services)
        host = full_host(services, spec.host, policy.key.namespace) if spec.host else ""
        groups.setdefault((host, specificity(spec)), []).append(policy)
    for group in groups.values():
        yield from _overlaps(group)


def specificity(spec: Any) -> Specificity:
    """How narrowly a policy selects; the greatest wins: a host, then an application, then the number of labels."""
    return (bool(spec.host), bool(spec.application), len(spec.labels))


def _unknown_host(policy: ConfigObject, services: Mapping[str, Service]) -> Iterator[Problem]:
    spec: Any = policy.spec
    if spec.host and find_service(services, spec.host, policy.key.namespace) is None:
        message = f"no ServiceEntry has the host {spec.host!r}: the policy has nothing to do until one has"
        yield _warning(policy, "spec.host", message)


def _beyond_sdks(policy: ConfigObject, services: Mapping[str, Service]) -> Iterator[Problem]:
    """An SDK reads its registry itself; only Dubbo's can be told to pass over what an application registered there."""
    spec: Any = policy.spec
    service = find_service(services, spec.host, policy.key.namespace) if spec.host else None
    if service is None or any(port.name.startswith("dubbo") for port in service.ports):
        return
    for path, order in _sdk_orders(spec):
        if order and order[0] != "native":
            message = (
                f"{order[0]!r} before 'native' cannot hide addresses that applications register themselves from SDKs other than "
                f"Dubbo's, and no port of the service is named as its ({', '.join(port.name for port in service.ports)}): such "
                "consumers see both; let the applications register through their sidecars alone"
            )
            yield _warning(policy, path, message)


def _sdk_orders(spec: Any) -> Iterator[tuple[str, list[str]]]:
    yield "spec.sdk.prefer", list(spec.sdk.prefer)
    for index, rule in enumerate(spec.sdk.rules):
        yield f"spec.sdk.rules[{index}].prefer", list(rule.prefer)
    for index, each in enumerate(spec.overrides):
        yield f"spec.overrides[{index}].sdk", list(each.sdk)


def _overlaps(group: list[ConfigObject]) -> Iterator[Problem]:
    """Policies that select equally narrowly and may meet on one instance: the first by namespace and name counts."""
    for position, policy in enumerate(group):
        winner = next((other for other in group[:position] if _meet(other, policy)), None)
        if winner is not None:
            message = (
                f"selects no more narrowly than {winner.key}, which counts where both select an instance, unless only "
                "this one is of the service's namespace: name different hosts, applications or labels"
            )
            yield _warning(policy, "spec", message)


def _meet(first: ConfigObject, second: ConfigObject) -> bool:
    one: Any = first.spec
    other: Any = second.spec
    if one.application != other.application and one.application and other.application:
        return False
    if any(name in other.labels and other.labels[name] != value for name, value in one.labels.items()):
        return False
    mine, theirs = _namespaces(first), _namespaces(second)
    return "*" in mine | theirs or not mine.isdisjoint(theirs)


def _namespaces(policy: ConfigObject) -> frozenset[str]:
    spec: Any = policy.spec
    return frozenset(policy.key.namespace if each == "." else each for each in spec.export_to or (".",))


def _warning(policy: ConfigObject, path: str, message: str) -> Problem:
    return Problem(f"{policy.origin} ({policy.key})", path, message)
