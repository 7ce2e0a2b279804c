"""Where the routes of a VirtualService point, and whether that exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.model import find_service, full_host, subsets_of
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.stores.base import ConfigObject

RuleIndex = Mapping[str, tuple[ConfigObject, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One destination of a VirtualService: its path, and the full host and subset that it names."""

    path: str
    destination: Any
    host: str
    subset: str


def references_of(obj: ConfigObject, services: Mapping[str, Service]) -> Iterator[Reference]:
    """Yield every destination of a VirtualService, those of mirrors too."""
    for path, destination in _destinations(obj.spec):
        host = full_host(services, destination.host, obj.key.namespace)
        yield Reference(path, destination, host, destination.subset)


def _destinations(spec: Any) -> Iterator[tuple[str, Any]]:
    for index, route in enumerate(spec.http):
        path = f"spec.http[{index}]"
        for position, target in enumerate(route.route):
            yield f"{path}.route[{position}].destination", target.destination
        if route.HasField("mirror"):
            yield f"{path}.mirror", route.mirror
        for position, mirror in enumerate(route.mirrors):
            yield f"{path}.mirrors[{position}].destination", mirror.destination


def dangling(obj: ConfigObject, services: Mapping[str, Service], rules: RuleIndex) -> Iterator[FieldProblem]:
    """Yield what the routes of a VirtualService name but nobody defines."""
    for reference in references_of(obj, services):
        service = services.get(reference.host)
        if service is None:
            message = f"no ServiceEntry has the host {reference.destination.host!r}: add one or correct the name"
            yield FieldProblem(f"{reference.path}.host", message)
            continue
        yield from _missing_subset(reference, rules)
        yield from _missing_port(reference, service, _listener_ports(obj, services))


def _missing_subset(reference: Reference, rules: RuleIndex) -> Iterator[FieldProblem]:
    holders = rules.get(reference.host, ())
    if not reference.subset or any(reference.subset in subsets_of(rule) for rule in holders):
        return
    known = sorted({name for rule in holders for name in subsets_of(rule)})
    where = f"a DestinationRule for {reference.host!r}"
    have = f"has only {', '.join(known)}" if known else "does not define any"
    message = (
        f"the subset {reference.subset!r} does not exist: {where} {have}; add the subset there or correct the name"
    )
    yield FieldProblem(f"{reference.path}.subset", message)


def _missing_port(reference: Reference, service: Service, listening: tuple[int, ...]) -> Iterator[FieldProblem]:
    ports = ", ".join(str(port.number) for port in service.http_ports) or "none"
    if not service.http_ports:
        yield FieldProblem(f"{reference.path}.host", f"{reference.host!r} has no HTTP port: route to one that has")
    elif reference.destination.HasField("port"):
        number = reference.destination.port.number
        port = service.port(number)
        if port is None or not port.is_http:
            message = f"{number} is not an HTTP port of {reference.host!r}: it has {ports}"
            yield FieldProblem(f"{reference.path}.port.number", message)
    elif len(service.http_ports) > 1 and any(destination_port(service, number) is None for number in listening):
        message = f"{reference.host!r} has several HTTP ports ({ports}): say which one"
        yield FieldProblem(f"{reference.path}.port.number", message)


def destination_port(service: Service, listener_port: int, chosen: int | None = None) -> Port | None:
    """Return the HTTP port of a destination: the chosen one, else the only one, else the one the request came to."""
    if chosen is not None:
        port = service.port(chosen)
    elif len(service.http_ports) == 1:
        port = service.http_ports[0]
    else:
        port = service.port(listener_port)
    return port if port is not None and port.is_http else None


def _listener_ports(obj: ConfigObject, services: Mapping[str, Service]) -> tuple[int, ...]:
    """The ports on which requests reach these routes: the HTTP ports of the services they govern."""
    spec: Any = obj.spec
    governed = (find_service(services, host, obj.key.namespace) for host in spec.hosts)
    return tuple(sorted({port.number for service in governed if service is not None for port in service.http_ports}))
