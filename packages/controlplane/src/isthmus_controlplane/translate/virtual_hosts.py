"""Virtual hosts: one per service and HTTP port, and the catch-all for hosts that nobody defined."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteAction, VirtualHost
from google.protobuf.duration_pb2 import Duration

from isthmus_controlplane.model.host import short_names
from isthmus_controlplane.model.model import Model, subsets_of
from isthmus_controlplane.model.references import destination_port
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.model.validate.virtual_service import takes_everything
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.actions import forward, set_action
from isthmus_controlplane.translate.load_balancer import hash_policy
from isthmus_controlplane.translate.matches import match_everything, route_match
from isthmus_controlplane.translate.names import (
    BLACK_HOLE_CLUSTER,
    PASSTHROUGH_CLUSTER,
    cluster_name,
    virtual_host_name,
    with_port,
)
from isthmus_controlplane.translate.traffic_policy import traffic_policy

BLOCK_ALL = "block_all"
ALLOW_ANY = "allow_any"
BLOCKED_STATUS = 502  # what Istio answers under REGISTRY_ONLY


@dataclasses.dataclass(frozen=True, slots=True)
class RouteContext:
    """What routes are built against.

    Attributes:
        model: the configuration.
        scope: for whom.
        clusters: names of the clusters that exist for this scope; a route names no other.
        hashing: the DestinationRules that balance by consistent hash, by host; routes to these hosts say what is hashed.
    """

    model: Model
    scope: Scope
    clusters: frozenset[str]
    hashing: Mapping[str, ConfigObject] = dataclasses.field(default_factory=dict)

    def hash_policy(self, host: str, port: int, subset: str) -> Any:
        """Return the HashPolicy by which a cluster balances; None where it does not hash."""
        rule = self.hashing.get(host)
        if rule is None:
            return None
        policy = traffic_policy(rule.spec, subsets_of(rule).get(subset), port)
        return hash_policy(policy.load_balancer)


@dataclasses.dataclass(frozen=True, slots=True)
class _Destinations:
    """What the destinations of a VirtualService stand for when a request comes to ``port``."""

    governing: ConfigObject
    port: int
    context: RouteContext

    def cluster(self, destination: Any) -> str:
        """Name the cluster; for one that does not exist the black hole, so its share of requests gets 503."""
        found = self._find(destination)
        if found is None:
            return BLACK_HOLE_CLUSTER
        host, port = found
        name = cluster_name(port, destination.subset, host)
        return name if name in self.context.clusters else BLACK_HOLE_CLUSTER

    def hash_policy(self, destination: Any) -> Any:
        """Return the HashPolicy by which the cluster balances, or None."""
        found = self._find(destination)
        return self.context.hash_policy(*found, destination.subset) if found is not None else None

    def _find(self, destination: Any) -> tuple[str, int] | None:
        service = self.context.model.service(destination.host, self.governing.key.namespace)
        chosen = destination.port.number if destination.HasField("port") else None
        target = destination_port(service, self.port, chosen) if service is not None else None
        return (service.host, target.number) if service is not None and target is not None else None


def virtual_host(service: Service, port: Port, domains: Iterable[str], context: RouteContext) -> Any:
    """Build the virtual host of one HTTP port."""
    governing = context.model.route(service.host, context.scope.namespace)
    return VirtualHost(
        name=virtual_host_name(service.host, port.number),
        domains=list(domains),
        routes=list(_routes(service, port, governing, context)),
    )


def _routes(service: Service, port: Port, governing: ConfigObject | None, context: RouteContext) -> Iterator[Any]:
    if governing is None:
        cluster = cluster_name(port.number, "", service.host)
        hashed = context.hash_policy(service.host, port.number, "")
        yield Route(name="default", match=match_everything(), route=forward(cluster, hashed))
        return
    spec: Any = governing.spec
    for http in spec.http:
        for name, match in _matches(http, port.number, context.scope.namespace):
            route = Route(name=name, match=match)
            destinations = _Destinations(governing, port.number, context)
            set_action(route, http, destinations, port.number, kind=context.scope.kind)
            yield route
        if takes_everything(http):
            return


def _matches(http: Any, port: int, namespace: str) -> Iterator[tuple[str, Any]]:
    """Yield (route name, match) for each match that can apply on this port and to clients of this namespace."""
    if not http.match:
        yield http.name, match_everything()
    for match in http.match:
        if match.port in {0, port} and match.source_namespace in {"", namespace}:
            yield ".".join(filter(None, (http.name, match.name))), route_match(match)


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
