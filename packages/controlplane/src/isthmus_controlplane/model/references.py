"""Where the routes of a VirtualService point, and whether that exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.gateway import MESH_GATEWAY, gateways_of, is_in_mesh
from isthmus_controlplane.model.model import find_service, full_host, subsets_of
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.stores.base import ConfigObject

RuleIndex = Mapping[str, tuple[ConfigObject, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One destination of a VirtualService: its path, the full host and subset that it names, and whether requests or
    connections go there."""

    path: str
    destination: Any
    host: str
    subset: str
    http: bool


def references_of(obj: ConfigObject, services: Mapping[str, Service]) -> Iterator[Reference]:
    """Yield every destination of a VirtualService, those of mirrors too."""
    for http, destinations in ((True, _destinations(obj.spec)), (False, _tcp_destinations(obj.spec))):
        for path, destination in destinations:
            host = full_host(services, destination.host, obj.key.namespace)
            yield Reference(path, destination, host, destination.subset, http)


def _tcp_destinations(spec: Any) -> Iterator[tuple[str, Any]]:
    for name, routes in (("tls", spec.tls), ("tcp", spec.tcp)):
        for index, route in enumerate(routes):
            for position, target in enumerate(route.route):
                yield f"spec.{name}[{index}].route[{position}].destination", target.destination


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
        listening = _listener_ports(obj, services, http=reference.http) if is_in_mesh(obj) else ()
        bound = any(gateway != MESH_GATEWAY for gateway in gateways_of(obj))
        yield from _missing_port(reference, service, listening, bound=bound)


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


def _missing_port(
    reference: Reference, service: Service, listening: tuple[int, ...], *, bound: bool
) -> Iterator[FieldProblem]:
    """``bound``: to a gateway, whose ports say nothing of those of services."""
    what = "HTTP" if reference.http else "TCP"
    candidates = service.ports_of(http=reference.http)
    ports = ", ".join(str(port.number) for port in candidates) or "none"
    if not candidates:
        yield FieldProblem(f"{reference.path}.host", f"{reference.host!r} has no {what} port: route to one that has")
    elif reference.destination.HasField("port"):
        number = reference.destination.port.number
        if service.port(number) not in candidates:
            message = (
                f"{number} is not {'an' if reference.http else 'a'} {what} port of {reference.host!r}: it has {ports}"
            )
            yield FieldProblem(f"{reference.path}.port.number", message)
    elif (bound and len(candidates) > 1) or any(
        destination_port(service, number, http=reference.http) is None for number in listening
    ):
        message = f"{reference.host!r} has several {what} ports ({ports}): say which one"
        yield FieldProblem(f"{reference.path}.port.number", message)


def destination_port(
    service: Service, listener_port: int, chosen: int | None = None, *, http: bool = True
) -> Port | None:
    """Return the port of a destination: the chosen one, else the only one, else the one the request came to.

    Args:
        service: the destination.
        listener_port: to which the request or the connection came.
        chosen: by the user.
        http: whether a port for HTTP is wanted, or one for TCP.
    """
    candidates = service.ports_of(http=http)
    if chosen is None and len(candidates) == 1:
        return candidates[0]
    port = service.port(chosen if chosen is not None else listener_port)
    return port if port in candidates else None


def _listener_ports(obj: ConfigObject, services: Mapping[str, Service], *, http: bool) -> tuple[int, ...]:
    """The ports on which these routes are taken: those for HTTP, or for TCP, of the services they govern."""
    spec: Any = obj.spec
    governed = (find_service(services, host, obj.key.namespace) for host in spec.hosts)
    found = {port.number for service in governed if service is not None for port in service.ports_of(http=http)}
    return tuple(sorted(found))


def source_labels(routes: Iterable[ConfigObject]) -> Iterator[tuple[str, str]]:
    """Yield the labels by which routes of VirtualServices tell clients apart."""
    for obj in routes:
        spec: Any = obj.spec
        for route in (*spec.http, *spec.tls, *spec.tcp):
            for match in route.match:
                yield from match.source_labels.items()
