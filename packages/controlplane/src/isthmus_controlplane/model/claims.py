"""Who owns a host name and a listener: the first to claim it, so that a newcomer cannot take over what works."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isthmus_controlplane.model.host import candidates
from isthmus_controlplane.model.scope import ANY_ADDRESS
from isthmus_controlplane.model.service import Port, Service, services_of
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem

HTTP_OWNER = "HTTP"
TLS_OWNER = "TLS"


# By ServiceEntry: the entry, the WorkloadEntries of its namespace, and the services made from them.
Built = Mapping[ObjectKey, tuple[ConfigObject, Sequence[ConfigObject], tuple[Service, ...]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Claimed:
    """The services that could be built, and what each loser lost."""

    services: Mapping[str, Service]
    problems: tuple[Problem, ...]
    losers: frozenset[ObjectKey]
    built: Built


def claim_services(
    entries: Iterable[ConfigObject], workloads: Iterable[ConfigObject], before: Built | None = None
) -> Claimed:
    """Build services.

    Args:
        entries: ServiceEntries in the order of precedence.
        workloads: all WorkloadEntries.
        before: what was built last; services of unchanged entries are taken from there.
    """
    built: dict[ObjectKey, tuple[ConfigObject, Sequence[ConfigObject], tuple[Service, ...]]] = {}
    by_namespace: dict[str, list[ConfigObject]] = {}
    for workload in workloads:
        by_namespace.setdefault(workload.key.namespace, []).append(workload)
    services: dict[str, Service] = {}
    listeners: dict[tuple[str, int], tuple[str, Service]] = {}
    problems: list[Problem] = []
    losers: set[ObjectKey] = set()
    for entry in entries:
        inputs = by_namespace.get(entry.key.namespace, [])
        known = (before or {}).get(entry.key)
        same = known is not None and known[0] is entry and known[1] == inputs
        built[entry.key] = known if known is not None and same else (entry, inputs, services_of(entry, inputs))
        for service in built[entry.key][2]:
            lost = _claim(service, services, listeners)
            if lost:
                losers.add(entry.key)
                problems.extend(Problem(_origin(entry), path, message) for path, message in lost)
    return Claimed(dict(sorted(services.items())), tuple(problems), frozenset(losers), built)


def _claim(
    service: Service, services: dict[str, Service], listeners: dict[tuple[str, int], tuple[str, Service]]
) -> list[tuple[str, str]]:
    owner = services.get(service.host)
    if owner is not None:
        message = (
            f"{service.host!r} is already defined by {owner.key}, which stays in use: rename or remove one of them"
        )
        return [("spec.hosts", message)]
    lost: list[tuple[str, str]] = []
    kept: list[Port] = []
    for port in service.ports:
        rival = _claim_listener(service, port, listeners)
        if rival is None:
            kept.append(port)
            continue
        kind, other = rival
        message = (
            f"port {port.number} ({port.protocol}) of {service.host!r} conflicts with {other.host!r} ({kind}) of "
            f"{other.key}: one listener cannot serve both; use another port"
            + ("" if port.is_http else " or give the service an address of its own")
        )
        lost.append(("spec.ports", message))
    services[service.host] = dataclasses.replace(service, ports=tuple(kept)) if lost else service
    return lost


def _claim_listener(
    service: Service, port: Port, listeners: dict[tuple[str, int], tuple[str, Service]]
) -> tuple[str, Service] | None:
    """Take the listeners of one port; returns who has one of them when they cannot be shared."""
    kind = HTTP_OWNER if port.is_http else TLS_OWNER if port.is_tls else port.protocol
    slots = [(address, port.number) for address in listener_addresses(service, port)]
    for slot in slots:
        held = listeners.get(slot)
        if held is not None and not (held[0] == kind and kind in {HTTP_OWNER, TLS_OWNER}):
            return held
    for slot in slots:
        listeners.setdefault(slot, (kind, service))
    return None


def listener_addresses(service: Service, port: Port) -> tuple[str, ...]:
    """Return where a port is listened on: HTTP ports are shared by all hosts, others have the service's addresses, if any."""
    return (ANY_ADDRESS,) if port.is_http or not service.addresses else service.addresses


def by_host(
    objects: Iterable[ConfigObject], services: Mapping[str, Service], hosts_field: str
) -> tuple[dict[str, tuple[ConfigObject, ...]], tuple[Problem, ...]]:
    """Index VirtualServices or DestinationRules by full host; a second one for the same host and clients is a problem.

    Args:
        objects: in the order of precedence.
        services: to resolve short names.
        hosts_field: ``hosts`` or ``host``.
    """
    index: dict[str, list[ConfigObject]] = {}
    problems: list[Problem] = []
    for obj in objects:
        value = getattr(obj.spec, hosts_field)
        for host in [value] if isinstance(value, str) else value:
            names = candidates(host, obj.key.namespace)
            full = next((name for name in names if name in services), names[0])
            holders = index.setdefault(full, [])
            rival = next((other for other in holders if _overlap(other, obj)), None)
            if rival is not None:
                message = f"{host!r} is already governed by {rival.key}, which wins: merge the two or remove one"
                problems.append(Problem(_origin(obj), f"spec.{hosts_field}", message))
            holders.append(obj)
    return {host: tuple(holders) for host, holders in sorted(index.items())}, tuple(problems)


def _overlap(first: ConfigObject, second: ConfigObject) -> bool:
    mine, theirs = _audience(first), _audience(second)
    return "*" in mine or "*" in theirs or bool(mine & theirs)


def _audience(obj: ConfigObject) -> frozenset[str]:
    spec: Any = obj.spec
    return frozenset(obj.key.namespace if target == "." else target for target in spec.export_to) or frozenset("*")


def _origin(obj: ConfigObject) -> str:
    return f"{obj.origin} ({obj.key})"
