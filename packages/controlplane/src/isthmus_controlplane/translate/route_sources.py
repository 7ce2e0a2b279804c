"""Which part of which user's object became each route of a virtual host. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus_controlplane.model.gateway import name_of, servers_of
from isthmus_controlplane.model.model import Model, is_visible
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.gateways import route_configuration_name
from isthmus_controlplane.translate.source import source_of
from isthmus_controlplane.translate.virtual_hosts import route_paths

RouteSource = tuple[ConfigObject, str]


def route_sources(model: Model, scope: Scope, configuration: str, host: str, port: int) -> Iterator[RouteSource]:
    """Yield (object, path in the form in use) of each route, in their order.

    Args:
        model: the configuration.
        scope: of the client.
        configuration: name of the route configuration.
        host: what the virtual host is for.
        port: of the listener.
    """
    if scope.kind == "gateway":
        yield from _at_gateway(model, scope, configuration, host, port)
        return
    governing = model.route(host, scope.namespace)
    if governing is not None:
        yield from ((governing, path) for path in route_paths(governing, source_of(scope, governing, port)))


def _at_gateway(model: Model, scope: Scope, configuration: str, host: str, port: int) -> Iterator[RouteSource]:
    """At a gateway several VirtualServices may be bound to one host, and several servers share a route configuration."""
    for server in servers_of(model.by_label.gateways(dict(scope.labels), scope.namespace)):
        if server.spec.port.number != port or route_configuration_name(server) != configuration:
            continue
        name = name_of(server.gateway)
        for bound in model.bindings.get(name, ()):
            if host in server.hosts_of(bound) and is_visible(bound, scope.namespace):
                source = source_of(scope, bound, port, name)
                yield from ((bound, path) for path in route_paths(bound, source))
