"""What gateways take: the ports that Gateways open on them, and the VirtualServices bound to those."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import RedirectAction, Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import BoolValue

from isthmus_api.istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from isthmus_controlplane.model.composed import keys_of
from isthmus_controlplane.model.gateway import (
    ANY_HOST,
    HTTP_PROTOCOLS,
    TLS_PROTOCOLS,
    ListenerGateway,
    Server,
    name_of,
    servers_of,
)
from isthmus_controlplane.model.model import is_visible
from isthmus_controlplane.model.scope import ANY_ADDRESS
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem
from isthmus_controlplane.translate.destinations import RouteContext
from isthmus_controlplane.translate.http_filters import filters_of, http_filters
from isthmus_controlplane.translate.listeners import HTTP_CONNECTION_MANAGER, connection_manager, tcp_proxy
from isthmus_controlplane.translate.matches import match_everything
from isthmus_controlplane.translate.message import packed, socket_address
from isthmus_controlplane.translate.names import listener_name
from isthmus_controlplane.translate.security_filters import security_filters
from isthmus_controlplane.translate.server_tls import server_tls
from isthmus_controlplane.translate.source import source_of
from isthmus_controlplane.translate.tcp_routes import Shares, tcp_shares, tls_shares
from isthmus_controlplane.translate.tls_listeners import inspect_tls
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE
from isthmus_controlplane.translate.virtual_hosts import http_routes

# Where a listener of the Gateway API says what a server says there.
_LISTENER_FIELDS = {"port.protocol": "protocol", "hosts": "hostname"}
Resource = tuple[str, str, Any, tuple[ObjectKey, ...]]
Origins = tuple[ObjectKey, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Chain:
    """A filter chain, or none yet for want of routes, with what it is made from."""

    chain: Any
    origins: Origins


class Gateways:
    """The listeners of one gateway scope."""

    def __init__(self, context: RouteContext) -> None:
        self.problems: list[Problem] = []
        self._context = context
        self._namespace = context.scope.namespace
        labels = dict(context.scope.labels)
        self._model = context.model
        self._gateways = self._model.by_label.gateways(labels, self._namespace)
        self._security = security_filters(self._model, self._namespace, labels)

    def resources(self) -> Iterator[Resource]:
        """Yield (type URL, name, message, origins) of all listeners, route configurations and clusters of key servers."""
        ports: dict[tuple[str, int], list[Server]] = {}
        for server in servers_of(self._gateways):
            ports.setdefault((server.spec.bind or ANY_ADDRESS, server.spec.port.number), []).append(server)
        for (bind, number), servers in sorted(ports.items()):
            yield from self._listener(bind, number, servers)
        for cluster, policy in self._security.clusters if ports else ():
            yield CLUSTER_TYPE, cluster.name, cluster, (policy.key,)

    def _listener(self, bind: str, number: int, servers: Sequence[Server]) -> Iterator[Resource]:
        """One port: plain HTTP of all servers together, or a chain per server name, or the bytes of one server."""
        first = servers[0]
        plain = first.protocol in HTTP_PROTOCOLS
        secure = first.protocol in TLS_PROTOCOLS
        alike = [
            server
            for server in servers
            if (server.protocol in HTTP_PROTOCOLS, server.protocol in TLS_PROTOCOLS) == (plain, secure)
        ]
        for server in servers:
            if server not in alike:
                message = (
                    f"port {number} is {first.protocol} in {first.gateway.key}, which came first: use another port"
                )
                self._report(server, "port.protocol", message)
        if plain:
            yield from self._plain_http(bind, number, alike)
            return
        resources: list[Resource] = []
        chains = list(self._secure_chains(alike, resources) if secure else self._tcp_chains(alike))
        yield from resources
        if chains:
            name = listener_name(bind, number)
            origins = (*self._security.origins, *(key for chain in chains for key in chain.origins))
            yield LISTENER_TYPE, name, self._message(name, bind, number, chains, inspect=secure), origins

    def _message(self, name: str, bind: str, number: int, chains: Iterable[_Chain], *, inspect: bool) -> Any:
        return Listener(
            name=name,
            address=socket_address(bind, number),
            listener_filters=[inspect_tls()] if inspect else [],
            filter_chains=[chain.chain for chain in chains],
            traffic_direction=TrafficDirection.OUTBOUND,
        )

    def _plain_http(self, bind: str, number: int, servers: Sequence[Server]) -> Iterator[Resource]:
        route_name = route_configuration_name(servers[0])
        configuration, filters, origins = self._routes(route_name, servers)
        chain = _Chain(FilterChain(filters=[self._manager(route_name, filters, number)]), origins)
        name = listener_name(bind, number)
        yield ROUTE_TYPE, route_name, configuration, origins
        message = self._message(name, bind, number, [chain], inspect=False)
        yield LISTENER_TYPE, name, message, (*self._security.origins, *origins)

    def _manager(self, route_name: str, filters: Iterable[str], number: int) -> Any:
        """The connection manager of a port: it knows clients by their address, and normalises paths for policies."""
        manager = connection_manager(f"outbound_{ANY_ADDRESS}_{number}", route_name, ())
        del manager.http_filters[:]
        manager.http_filters.extend([*self._security.http, *http_filters(frozenset(filters))])
        manager.use_remote_address.CopyFrom(BoolValue(value=True))
        manager.normalize_path.CopyFrom(BoolValue(value=True))
        return Filter(name=HTTP_CONNECTION_MANAGER, typed_config=packed(manager))

    def _routes(self, name: str, servers: Sequence[Server]) -> tuple[Any, frozenset[str], Origins]:
        """Return a route configuration, the filters that its routes need, and what it is made from."""
        routes: dict[str, list[Any]] = {}
        filters: frozenset[str] = frozenset()
        origins: dict[ObjectKey, None] = dict.fromkeys(server.gateway.key for server in servers)
        for server in servers:
            for bound in self._bound(server):
                shared = server.hosts_of(bound)
                if not shared or not bound.spec.http:  # type: ignore[attr-defined]
                    continue
                origins.update(dict.fromkeys(keys_of(bound)))
                filters |= filters_of(bound.spec, "gateway")
                made = list(self._host_routes(server, bound))
                for host in shared:
                    if not _append(routes.setdefault(host, []), made):
                        self._report_unreachable(server, bound, host)
            if server.spec.tls.https_redirect:
                for host in server.names():
                    routes[host] = [_to_https()]
        hosts = [
            VirtualHost(name=f"{host}:{servers[0].spec.port.number}", domains=[host], routes=made)
            for host, made in sorted(routes.items())
        ]
        configuration = RouteConfiguration(
            name=name,
            virtual_hosts=hosts,
            ignore_port_in_host_matching=True,
            validate_clusters=BoolValue(value=False),
        )
        return configuration, filters, tuple(origins)

    def _host_routes(self, server: Server, bound: ConfigObject) -> Iterator[Any]:
        source = source_of(self._context.scope, bound, server.spec.port.number, name_of(server.gateway))
        return http_routes(bound, source, self._context)

    def _bound(self, server: Server) -> list[ConfigObject]:
        """Return the VirtualServices that are bound to a server's Gateway and visible to this one."""
        bound = self._model.bindings.get(name_of(server.gateway), ())
        return [obj for obj in bound if is_visible(obj, self._namespace)]

    def _secure_chains(self, servers: Sequence[Server], resources: list[Resource]) -> Iterator[_Chain]:
        """Yield the chains of servers over TLS; each server name goes to the first that has it."""
        taken: set[str] = set()

        def free(server: Server, names: Iterable[str], path: str) -> list[str]:
            wanted = list(dict.fromkeys(names))
            for name in wanted:
                if name in taken:
                    self._report(server, path, f"the server name {name!r} is taken by another server of this port")
            found = [name for name in wanted if name not in taken]
            taken.update(found)
            return found

        for server in servers:
            if server.spec.tls.mode == ServerTLSSettings.PASSTHROUGH:
                yield from self._passed_through(server, free)
            elif names := free(server, server.names(), "hosts"):
                yield from self._terminated(server, names, resources)

    def _terminated(self, server: Server, names: Sequence[str], resources: list[Resource]) -> Iterator[_Chain]:
        number = server.spec.port.number
        socket = server_tls(server.spec.tls, http=server.protocol == "HTTPS")
        match = _server_names(names)
        if server.protocol == "HTTPS":
            route_name = route_configuration_name(server)
            configuration, filters, origins = self._routes(route_name, [server])
            resources.append((ROUTE_TYPE, route_name, configuration, origins))
            manager = self._manager(route_name, filters, number)
            yield _Chain(FilterChain(filter_chain_match=match, filters=[manager], transport_socket=socket), origins)
            return
        routed = self._tcp_route(server)
        if routed is not None:
            bound, shares = routed
            filters_of_chain = [*self._security.network, tcp_proxy(shares)]
            yield _Chain(
                FilterChain(filter_chain_match=match, filters=filters_of_chain, transport_socket=socket),
                (server.gateway.key, bound.key),
            )

    def _passed_through(
        self, server: Server, free: Callable[[Server, Iterable[str], str], list[str]]
    ) -> Iterator[_Chain]:
        """Yield a chain per server name that a TLS route of a VirtualService takes."""
        for bound in self._bound(server):
            source = source_of(self._context.scope, bound, server.spec.port.number, name_of(server.gateway))
            hosts = server.hosts_of(bound)
            for name, shares in tls_shares(bound, source, self._context):
                if not any(_lies_in(name, host) for host in hosts):
                    continue
                if names := free(server, [name], "hosts"):
                    chain = FilterChain(
                        filter_chain_match=_server_names(names),
                        filters=[*self._security.network, tcp_proxy(shares)],
                    )
                    yield _Chain(chain, (server.gateway.key, bound.key))

    def _tcp_chains(self, servers: Sequence[Server]) -> Iterator[_Chain]:
        """Yield the one chain of a TCP port: what the first route takes that is bound there."""
        for server in servers:
            routed = self._tcp_route(server)
            if routed is not None:
                bound, shares = routed
                chain = FilterChain(filters=[*self._security.network, tcp_proxy(shares)])
                yield _Chain(chain, (server.gateway.key, bound.key))
                return

    def _tcp_route(self, server: Server) -> tuple[ConfigObject, Shares] | None:
        for bound in self._bound(server):
            source = source_of(self._context.scope, bound, server.spec.port.number, name_of(server.gateway))
            shares = tcp_shares(bound, source, self._context) if server.hosts_of(bound) else ()
            if shares:
                return bound, shares
        return None

    def _report_unreachable(self, server: Server, bound: ConfigObject, host: str) -> None:
        message = (
            f"its routes for {host!r} can never be reached at {server.gateway.key}: those of an older VirtualService take "
            "every request; merge the two or remove one"
        )
        self.problems.append(Problem(f"{bound.origin} ({bound.key})", "spec.http", message))

    def _report(self, server: Server, path: str, message: str) -> None:
        gateway = server.gateway
        origin = f"{gateway.origin} ({gateway.key})"
        if isinstance(gateway, ListenerGateway):
            place = f"spec.listeners[{gateway.position}].{_LISTENER_FIELDS[path]}"
        else:
            index = list(gateway.spec.servers).index(server.spec)  # type: ignore[attr-defined]
            place = f"spec.servers[{index}].{path}"
        self.problems.append(Problem(origin, place, message))


def route_configuration_name(server: Server) -> str:
    """Return Istio's name of the route configuration of a server for HTTP or HTTPS; plain ones of a port share one."""
    number, bind = server.spec.port.number, server.spec.bind or ANY_ADDRESS
    if server.protocol in HTTP_PROTOCOLS:
        return f"http.{number}" if bind == ANY_ADDRESS else f"http.{number}.{bind}"
    return f"https.{number}.{server.spec.port.name}.{server.gateway.key.name}.{server.gateway.key.namespace}"


def _server_names(names: Iterable[str]) -> Any:
    named = [name for name in names if name != ANY_HOST]
    return FilterChainMatch(server_names=named) if named and ANY_HOST not in names else FilterChainMatch()


def _lies_in(name: str, host: str) -> bool:
    return host in {ANY_HOST, name} or (host.startswith("*.") and name.endswith(host[1:]))


def _append(routes: list[Any], more: Iterable[Any]) -> bool:
    """Add routes behind those of an earlier VirtualService, unless one of those takes everything; says whether it did."""
    if routes and routes[-1].match == match_everything():
        return False
    routes.extend(more)
    return True


def _to_https() -> Any:
    return Route(name="https_redirect", match=match_everything(), redirect=RedirectAction(https_redirect=True))
