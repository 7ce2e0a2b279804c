"""Admission where only instances changed: who owns what, and what is held back, depends on none of them.

So a change costs what it changes: the services that the instances are part of are built again, and put into a copy of the
index. The result equals that of `admit` (a property test says so).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any

from isthmus_controlplane.model.admission import NOTHING_ADMITTED, Admission, Objects, rank
from isthmus_controlplane.model.claims import Built
from isthmus_controlplane.model.service import Service, services_of
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey


def admit_instances(objects: Objects, previous: Admission, changed: Iterable[ObjectKey]) -> Admission | None:
    """Admit objects of which only the endpoints, or WorkloadEntries, differ from those that were admitted before.

    Args:
        objects: all of them.
        previous: their admission before.
        changed: keys of the ServiceEntries with other endpoints, and of the WorkloadEntries that came, went or changed.

    Returns:
        The new admission; None where a whole one is needed.
    """
    if previous is NOTHING_ADMITTED:
        return None
    keys = frozenset(changed)
    if any(key.kind == "WorkloadEntry" for key in keys) and any(key.kind == "WorkloadGroup" for key in previous.in_use):
        return None  # what is said of entries beside their groups
    ranks = rank(objects, previous.ranks)
    rebuilt = dict(_rebuild(objects, previous.built, keys, ranks))
    services = dict(previous.model.services)
    hosts = set()
    for _, _, made in rebuilt.values():
        for service in made:
            owner = services.get(service.host)
            if owner is not None and owner.key == service.key:  # else another entry owns the host
                hosts.add(service.host)
                services[service.host] = dataclasses.replace(service, ports=owner.ports)
    in_use = {key: obj for key, obj in previous.in_use.items() if key not in keys}
    in_use |= {key: objects[key] for key in keys if key in objects}
    return dataclasses.replace(
        previous,
        model=dataclasses.replace(previous.model, services=services),
        in_use=MappingProxyType(in_use),
        ranks=ranks,
        built={**previous.built, **rebuilt},
        hosts=frozenset(host for host in hosts if services[host] != previous.model.services[host]),
    )


def _rebuild(
    objects: Objects, built: Built, changed: frozenset[ObjectKey], ranks: Any
) -> Iterator[tuple[ObjectKey, Any]]:
    """Yield the services of every ServiceEntry that changed, or whose namespace has other WorkloadEntries."""
    namespaces = {key.namespace for key in changed if key.kind == "WorkloadEntry"}
    workloads = _workloads(objects, namespaces, ranks)
    entries = built if namespaces else [key for key in changed if key in built]
    for key in entries:
        if key not in changed and key.namespace not in namespaces:
            continue
        entry, before, services = built[key]
        inputs = workloads[key.namespace] if key.namespace in namespaces else before
        yield key, (objects[key], inputs, _services(objects[key], inputs, entry, services))


def _services(
    entry: ConfigObject, inputs: Any, before: ConfigObject, services: tuple[Service, ...]
) -> tuple[Service, ...]:
    spec: Any = entry.spec
    if entry is before and not spec.HasField("workload_selector"):  # the entries of its namespace are not its own
        return services
    return services_of(entry, inputs)


def _workloads(objects: Objects, namespaces: set[str], ranks: Any) -> dict[str, list[ConfigObject]]:
    """Return the WorkloadEntries of some namespaces, in the order in which they came."""
    found: dict[str, list[ConfigObject]] = {namespace: [] for namespace in namespaces}
    if namespaces:
        for obj in sorted(objects.values(), key=lambda obj: ranks[obj.key]):
            if obj.key.kind == "WorkloadEntry" and obj.key.namespace in namespaces:
                found[obj.key.namespace].append(obj)
    return found
