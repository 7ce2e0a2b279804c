"""HTTPRoute and GRPCRoute where they are attached: at Gateways by host name, and in the mesh at the services they name. Pure.

The routes of one host are put together as one VirtualService, in the order of precedence of the specification, over all objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from isthmus_controlplane.model.composed import Composed, Part
from isthmus_controlplane.model.gateway import (
    ANY_HOST,
    HTTP_PROTOCOLS,
    MESH_GATEWAY,
    ListenerGateway,
    name_of,
    servers_of,
)
from isthmus_controlplane.model.gateway_api.actions import action_of
from isthmus_controlplane.model.gateway_api.matches import matches_of
from isthmus_controlplane.model.gateway_api.references import Backends, ParentKind, Refused, parent_kind
from isthmus_controlplane.model.model import find_service
from isthmus_controlplane.model.service import Service
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, config_object, content_version

GATEWAY_API_KINDS = ("HTTPRoute", "GRPCRoute")


class RouteStatus(NamedTuple):
    """Conditions of a route as the specification has them: why it is not attached, and why backends are not known; empty
    where all is well. ``resolved`` is None for a Gateway, which is ``Programmed`` where it is accepted."""

    accepted: tuple[str, str] = ("", "")
    resolved: tuple[str, str] | None = ("", "")


@dataclasses.dataclass(frozen=True, slots=True)
class GatewayRoutes:
    """What became of the routes.

    Attributes:
        mesh: VirtualServices by the host of the service, those for one namespace first.
        bound: VirtualServices of Gateways.
        problems: what has to be mended; it holds nothing back.
        status: conditions by route.
    """

    mesh: Mapping[str, tuple[ConfigObject, ...]]
    bound: tuple[ConfigObject, ...]
    problems: tuple[Problem, ...]
    status: Mapping[ObjectKey, RouteStatus]


_Parent = tuple[ParentKind, str, str]


class _Slot(NamedTuple):
    """Where routes are put together: a gateway or the mesh, a port of it (0: all), a host, and for which clients."""

    gateway: str
    port: int
    host: str
    export_to: str = ""


def attach_routes(
    routes: Iterable[ConfigObject],
    gateways: Iterable[ConfigObject],
    services: Mapping[str, Service],
    grants: Sequence[ConfigObject] = (),
) -> GatewayRoutes:
    """Attach routes.

    Args:
        routes: HTTPRoutes and GRPCRoutes, the oldest first.
        gateways: Istio's Gateways, and listeners of the Gateway API's.
        services: by host.
        grants: ReferenceGrants.
    """
    known: dict[_Parent, list[ConfigObject]] = {}
    for gateway in gateways:
        known.setdefault(_parent_of(gateway), []).append(gateway)
    slots: dict[_Slot, list[ConfigObject]] = {}
    problems: list[Problem] = []
    status: dict[ObjectKey, RouteStatus] = {}
    for route in routes:
        refusals: list[Refused] = []
        for found in _attach(route, known, services):
            if isinstance(found, Refused):
                refusals.append(found)
                continue
            holders = slots.setdefault(found, [])
            if holders and holders[0].key.kind != route.key.kind:
                message = (
                    f"{found.host!r} is taken by {holders[0].key}, which came first: one host has routes of one kind"
                )
                refusals.append(Refused("spec.hostnames", "Conflicted", message))
            elif route not in holders:
                holders.append(route)
        unresolved = list(Backends(route, services, grants).unresolved())
        status[route.key] = RouteStatus(_summary(refusals), _summary(unresolved))
        origin = f"{route.origin} ({route.key})"
        problems += [Problem(origin, each.path, each.message) for each in (*refusals, *unresolved)]
    made = [(slot, _compose(slot, holders, services, grants)) for slot, holders in slots.items()]
    return GatewayRoutes(_by_host(made), _bound(made), tuple(problems), status)


def _parent_of(gateway: ConfigObject) -> _Parent:
    kind: ParentKind = "Listener" if isinstance(gateway, ListenerGateway) else "Gateway"
    return kind, gateway.key.namespace, gateway.key.name


def _summary(found: Iterable[Any]) -> tuple[str, str]:
    first: Any = next(iter(found), None)
    return (first.reason, f"{first.path}: {first.message}") if first is not None else ("", "")


def _bound(made: Iterable[tuple[_Slot, ConfigObject]]) -> tuple[ConfigObject, ...]:
    return tuple(obj for slot, obj in made if slot.gateway != MESH_GATEWAY)


def _by_host(made: Iterable[tuple[_Slot, ConfigObject]]) -> Mapping[str, tuple[ConfigObject, ...]]:
    index: dict[str, list[ConfigObject]] = {}
    for slot, obj in sorted(made, key=lambda pair: (not pair[0].export_to, pair[0])):
        if slot.gateway == MESH_GATEWAY:
            index.setdefault(slot.host, []).append(obj)
    return {host: tuple(found) for host, found in index.items()}


def _attach(
    route: ConfigObject, gateways: Mapping[_Parent, Sequence[ConfigObject]], services: Mapping[str, Service]
) -> Iterator[_Slot | Refused]:
    spec: Any = route.spec
    for number, parent in enumerate(spec.parent_refs):
        path = f"spec.parentRefs[{number}]"
        namespace = parent.namespace or route.key.namespace
        kind = parent_kind(parent)
        if kind in {"Gateway", "Listener"}:
            found = gateways.get((kind, namespace, parent.name), ())
            if not found:
                yield Refused(
                    path, "NoMatchingParent", f"no Gateway is {namespace}/{parent.name}: add it or correct the name"
                )
            else:
                yield from _at_gateway(route, found, parent, path)
        else:
            yield from _in_mesh(route, parent, namespace, services, path)


def _at_gateway(
    route: ConfigObject, gateways: Sequence[ConfigObject], parent: Any, path: str
) -> Iterator[_Slot | Refused]:
    spec: Any = route.spec
    servers = [
        server
        for server in servers_of(gateways)
        if server.protocol in {*HTTP_PROTOCOLS, "HTTPS"}
        and parent.port in {0, server.spec.port.number}
        and parent.section_name in {"", server.spec.port.name}
    ]
    key = gateways[0].key
    if not servers:
        yield Refused(path, "NoMatchingParent", f"{key} has no listener for HTTP of such a name and port: add one")
        return
    if not any(server.admits(route) for server in servers):
        message = (
            f"{key} lets no routes of {route.key.namespace!r} in: mend its allowedRoutes, or the hosts of its servers"
        )
        yield Refused(path, "NotAllowedByListeners", message)
        return
    asks = config_object(route.key, VirtualService(hosts=spec.hostnames or [ANY_HOST]), origin=route.origin)
    slots = [
        _Slot(name_of(server.gateway), server.spec.port.number, host)
        for server in servers
        for host in server.hosts_of(asks)
    ]
    if not slots:
        message = f"no listener of {key} takes these hosts for routes of {route.key.namespace!r}: add one of its hosts"
        yield Refused("spec.hostnames", "NoMatchingListenerHostname", message)
    yield from dict.fromkeys(slots)


def _in_mesh(
    route: ConfigObject, parent: Any, namespace: str, services: Mapping[str, Service], path: str
) -> Iterator[_Slot | Refused]:
    """Routes beside a service are for all clients, those elsewhere for clients of their own namespace."""
    hosts = list(_hosts(parent, namespace, services))
    if not hosts:
        message = f"there is no {parent.kind} {namespace}/{parent.name}: add it or correct the name"
        yield Refused(path, "NoMatchingParent", message)
    export_to = "" if namespace == route.key.namespace else route.key.namespace
    yield from (_Slot(MESH_GATEWAY, parent.port, host, export_to) for host in hosts)


def _hosts(parent: Any, namespace: str, services: Mapping[str, Service]) -> Iterator[str]:
    if parent_kind(parent) == "Service":
        service = find_service(services, parent.name, namespace)
        if service is not None:
            yield service.host
        return
    for host, service in services.items():
        if service.key == ObjectKey("ServiceEntry", namespace, parent.name):
            yield host


def _compose(
    slot: _Slot, holders: Iterable[ConfigObject], services: Mapping[str, Service], grants: Sequence[ConfigObject]
) -> ConfigObject:
    """Put the matches of all routes of a slot into the order in which they are tried."""
    listed = list(holders)
    spec = VirtualService(
        hosts=[slot.host], gateways=[slot.gateway], export_to=[slot.export_to] if slot.export_to else []
    )
    parts: list[Part] = []
    for _, part, http in sorted(_routes(slot, listed, services, grants), key=lambda each: each[0]):
        spec.http.append(http)
        parts.append(part)
    first = listed[0]
    version = content_version(first.key, spec, {}, {})
    return Composed(
        first.key, spec, first.labels, first.annotations, first.create_time, version, first.origin, tuple(parts)
    )


def _routes(
    slot: _Slot, holders: Iterable[ConfigObject], services: Mapping[str, Service], grants: Sequence[ConfigObject]
) -> Iterator[tuple[tuple[Any, ...], Part, Any]]:
    for age, route in enumerate(holders):
        backends = Backends(route, services, grants)
        spec: Any = route.spec
        for number, rule in enumerate(spec.rules):
            path = f"spec.rules[{number}]"
            targets = tuple(f"{path}.backendRefs[{each}]" for each in range(len(rule.backend_refs)))
            for position, matched in enumerate(matches_of(rule)):
                where = f"{path}.matches[{position}]" if rule.matches else path
                for order, (form, request) in enumerate(matched.requests):
                    http = action_of(rule, form, backends.resolve)
                    request.port = slot.port
                    http.match.append(request)
                    http.name = rule.name or f"{route.key.namespace}.{route.key.name}.{number}"
                    rank = (matched.rank, age, number, position, order)
                    yield rank, Part(route.key, route.origin, path, (where,), targets), http
