"""Which of a client's resources a request meets, what users wrote behind each, and whether the client has them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from isthmus_controlplane.model.composed import place_of
from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.dependencies import references_of
from isthmus_controlplane.snapshot.resource import message_of
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from isthmus_controlplane.translate.route_sources import route_sources
from isthmus_controlplane.translate.routing import Request, Taken, best_host, taken_by
from isthmus_controlplane.translate.translation import Translation

MAX_ENDPOINTS = 100
State = Callable[[str, str], str]


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What a client is given.

    Attributes:
        scope: of the client.
        model: the configuration.
        translation: the resources of the scope.
        state: says how far the client is with a resource, by type URL and name.
    """

    scope: Scope
    model: Model
    translation: Translation
    state: State

    def resource(self, type_url: str, name: str) -> dict[str, Any]:
        """Describe a resource: name, state, and what it was made from."""
        origins = self.translation.origins.get((type_url, name), ())
        return {"name": name, "state": self.state(type_url, name), "objects": [str(key) for key in origins]}

    def table(self, type_url: str) -> Mapping[str, Any]:
        """Return the resources of a type."""
        return self.translation.messages.get(type_url, {})


def explain(view: View, request: Request, port: int = 0) -> list[dict[str, Any]]:
    """Describe each way that a request may go: one for each listener that has its host, or else that takes any host.

    Args:
        view: what the client is given.
        request: the request.
        port: of the listener that it comes to, 0 for any.
    """
    found = [
        (name, host) for name in sorted(view.table(ROUTE)) if (host := _host(view, name, request.host)) is not None
    ]
    if port:
        found = [(name, host) for name, host in found if name in {str(port), f"{request.host}:{port}", request.host}]
    named = [(name, host) for name, host in found if "*" not in host.domains]
    return [_way(view, name, host, request) for name, host in named or found]


def _host(view: View, configuration: str, host: str) -> Any:
    alone = (message_of(each) for each in view.table(VIRTUAL_HOST).values())
    own = [each for each in alone if each.name.startswith(f"{configuration}/")]  # type: ignore[attr-defined]
    return best_host([*view.table(ROUTE)[configuration].virtual_hosts, *own], host)


def _way(view: View, configuration: str, host: Any, request: Request) -> dict[str, Any]:
    listeners = [name for name, each in view.table(LISTENER).items() if configuration in references_of(each)]
    return {
        "listeners": [view.resource(LISTENER, name) for name in listeners],
        "route_configuration": view.resource(ROUTE, configuration),
        "virtual_host": _virtual_host(view, host),
        "routes": [_route(view, configuration, host, taken) for taken in taken_by(host.routes, request)],
    }


def _virtual_host(view: View, host: Any) -> dict[str, Any]:
    described = {"name": host.name, "domains": list(host.domains)}
    if host.name in view.table(VIRTUAL_HOST):
        described |= {"state": view.state(VIRTUAL_HOST, host.name)}
    return described


def _route(view: View, configuration: str, host: Any, taken: Taken) -> dict[str, Any]:
    route = taken.route
    described: dict[str, Any] = {"position": taken.position, "name": route.name, "conditions": list(taken.conditions)}
    described["object"], described["path"] = _source(view, configuration, host, taken.position)
    match route.WhichOneof("action"):
        case "redirect":
            described["redirect"] = int(route.redirect.response_code) or 301
        case "direct_response":
            described["direct_response"] = route.direct_response.status
        case "route":
            described["clusters"] = [_cluster(view, *each) for each in _targets(route.route)]
    return described


def _source(view: View, configuration: str, host: Any, position: int) -> tuple[str, str]:
    """Name the object behind a route, and the part of it; empty for the default route of a service."""
    name, _, port = _service_name(host).rpartition(":")
    if not port.isdigit():
        return "", ""
    found = route_sources(view.model, view.scope, configuration, name, int(port))
    places = [place_of(governing, path) for governing, path in found]
    return (str(places[position].key), places[position].path) if position < len(places) else ("", "")


def _service_name(host: Any) -> str:
    """Write ``HOST:PORT``; a virtual host that came on demand is named after its route configuration and first domain."""
    configuration, slash, domain = host.name.rpartition("/")
    return f"{domain}:{configuration}" if slash else host.name


def _targets(action: Any) -> Iterator[tuple[str, int]]:
    if action.WhichOneof("cluster_specifier") == "weighted_clusters":
        for each in action.weighted_clusters.clusters:
            yield each.name, each.weight.value
    elif action.cluster:
        yield action.cluster, 1


def _cluster(view: View, name: str, weight: int) -> dict[str, Any]:
    cluster = view.table(CLUSTER).get(name)
    described = {**view.resource(CLUSTER, name), "weight": weight}
    if cluster is None:
        return described
    references = references_of(cluster)
    assignment = view.table(ENDPOINT).get(references[0]) if references else cluster.load_assignment
    described["endpoints"] = list(_endpoints(assignment))[:MAX_ENDPOINTS] if assignment is not None else []
    if references:
        described["endpoints_state"] = view.state(ENDPOINT, references[0])
    return described


def _endpoints(assignment: Any) -> Iterator[str]:
    for locality in assignment.endpoints:
        for each in locality.lb_endpoints:
            address = each.endpoint.address.socket_address
            yield f"{address.address}:{address.port_value}"
