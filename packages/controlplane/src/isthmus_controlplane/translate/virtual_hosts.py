"""Virtual hosts: one per service and HTTP port, and the catch-all for hosts that nobody defined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteAction, VirtualHost
from google.protobuf.duration_pb2 import Duration

from isthmus_controlplane.model.host import short_names
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.model.validate.virtual_service import is_unconditional
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.actions import forward, set_action
from isthmus_controlplane.translate.destinations import Destinations, RouteContext
from isthmus_controlplane.translate.matches import match_everything, route_match
from isthmus_controlplane.translate.names import (
    PASSTHROUGH_CLUSTER,
    cluster_name,
    virtual_host_name,
    with_port,
)
from isthmus_controlplane.translate.source import Source, source_of

BLOCK_ALL = "block_all"
ALLOW_ANY = "allow_any"
BLOCKED_STATUS = 502  # what Istio answers under REGISTRY_ONLY


def virtual_host(service: Service, port: Port, domains: Iterable[str], context: RouteContext) -> Any:
    """Build the virtual host of one HTTP port."""
    governing = context.model.route(service.host, context.scope.namespace)
    return VirtualHost(
        name=virtual_host_name(service.host, port.number),
        domains=list(domains),
        routes=list(_routes(service, port, governing, context)),
    )


def _routes(service: Service, port: Port, governing: ConfigObject | None, context: RouteContext) -> Iterator[Any]:
    spec: Any = governing.spec if governing is not None else None
    if governing is None or not spec.http:
        cluster = cluster_name(port.number, "", service.host)
        hashed = context.hash_policy(service.host, port.number, "")
        yield Route(name="default", match=match_everything(), route=forward(cluster, hashed))
        return
    yield from http_routes(governing, source_of(context.scope, governing, port.number), context)


def http_routes(governing: ConfigObject, source: Source, context: RouteContext) -> Iterator[Any]:
    """Yield the routes of a VirtualService that can take requests from there, up to one that takes everything."""
    spec: Any = governing.spec
    for http in spec.http:
        matches = [match for match in http.match if source.fits(match)]
        for name, match in _matches(http, matches):
            route = Route(name=name, match=match)
            destinations = Destinations(governing, source.port, context)
            set_action(route, http, destinations, source.port, kind=context.scope.kind)
            yield route
        if not http.match or any(map(is_unconditional, matches)):
            return


def _matches(http: Any, matches: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield (route name, match) for each match that can hold."""
    if not http.match:
        yield http.name, match_everything()
    for match in matches:
        yield ".".join(filter(None, (http.name, match.name))), route_match(match)


def route_paths(governing: ConfigObject, source: Source) -> Iterator[str]:
    """Name the part of a VirtualService behind each route that `http_routes` makes of it, in their order."""
    spec: Any = governing.spec
    for number, http in enumerate(spec.http):
        if not http.match:
            yield f"spec.http[{number}]"
        fitting = [position for position, match in enumerate(http.match) if source.fits(match)]
        yield from (f"spec.http[{number}].match[{position}]" for position in fitting)
        if not http.match or any(is_unconditional(http.match[position]) for position in fitting):
            return


def port_domains(service: Service, port: Port, namespace: str) -> list[str]:
    """Domains in the route configuration of one port: every name of the service, without and with the port."""
    return [domain for name in _names(service, namespace) for domain in (name, with_port(name, port.number))]


def proxy_domains(service: Service, port: Port, namespace: str) -> list[str]:
    """Domains where all ports share one route configuration: names with port, and bare ones for the default port."""
    bare = port == default_port(service)
    return [
        domain
        for name in _names(service, namespace)
        for domain in ((name, with_port(name, port.number)) if bare else (with_port(name, port.number),))
    ]


def default_port(service: Service) -> Port | None:
    """The HTTP port that a bare host name means: 80 where the service has it, else the lowest."""
    ports = service.http_ports
    return next((port for port in ports if port.number == 80), ports[0] if ports else None)


def _names(service: Service, namespace: str) -> list[str]:
    return [service.host, *short_names(service.host, namespace), *service.addresses]


def catch_all(*, pass_through: bool) -> Any:
    """The virtual host for hosts that nobody defined: blocked with 502, or passed through."""
    name = ALLOW_ANY if pass_through else BLOCK_ALL
    route = Route(name=name, match=match_everything())
    if pass_through:
        route.route.CopyFrom(RouteAction(cluster=PASSTHROUGH_CLUSTER, timeout=Duration()))
    else:
        route.direct_response.CopyFrom(DirectResponseAction(status=BLOCKED_STATUS))
    return VirtualHost(name=name, domains=["*"], routes=[route])
