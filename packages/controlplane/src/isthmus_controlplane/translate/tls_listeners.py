"""Outbound listeners of TLS: which service is meant stands in the server name that a client asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch, ListenerFilter
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

from isthmus_controlplane.model.service import Port, Service
from isthmus_controlplane.stores.base import ObjectKey
from isthmus_controlplane.translate.destinations import RouteContext
from isthmus_controlplane.translate.listeners import outbound_listener, tcp_proxy
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.names import PASSTHROUGH_CLUSTER, cluster_name
from isthmus_controlplane.translate.source import source_of
from isthmus_controlplane.translate.tcp_routes import Shares, tcp_shares, tls_shares
from isthmus_controlplane.translate.traffic_policy import traffic_policy

Members = list[tuple[Service, Port]]


def inspect_tls() -> Any:
    """The listener filter that reads server names."""
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(TlsInspector()))


def tls_listener(
    name: str, address: str, members: Members, context: RouteContext, *, redirected: bool, pass_through: bool
) -> tuple[Any, tuple[ObjectKey, ...]]:
    """Build the listener of one port, with a chain per server name, and say what it is made from.

    Args:
        name: of the listener.
        address: to which it binds, or for which connections are redirected to it.
        members: the services, at least one, and their ports, of one number; of two with one name the first has it.
        context: what routes are built against.
        redirected: whether connections come by redirection; else the listener binds.
        pass_through: whether connections for other names go where they were going.
    """
    number = members[0][1].number
    own_address = len(members) == 1 and address in members[0][0].addresses
    taken: dict[str, Any] = {}
    origins: list[ObjectKey] = []
    for service, port in members:
        rule, governing = _objects(service, context)
        policy = traffic_policy(rule.spec if rule is not None else None, None, port.number)
        origins += (service.key, *(obj.key for obj in (rule, governing) if obj is not None))
        for server_name, shares in _names(service, port, context, any_name=own_address):
            taken.setdefault(server_name, tcp_proxy(shares, policy))
    if pass_through:
        taken.setdefault("", tcp_proxy([(PASSTHROUGH_CLUSTER, 1)]))
    chains = [
        FilterChain(filter_chain_match=FilterChainMatch(server_names=[each] if each else []), filters=[proxy])
        for each, proxy in taken.items()
    ]
    listener = outbound_listener(name, address, number, chains, redirected=redirected)
    listener.listener_filters.append(inspect_tls())
    return listener, tuple(origins)


def _objects(service: Service, context: RouteContext) -> tuple[Any, Any]:
    namespace = context.scope.namespace
    return context.model.rule(service.host, namespace), context.model.route(service.host, namespace)


def _names(service: Service, port: Port, context: RouteContext, *, any_name: bool) -> Iterator[tuple[str, Shares]]:
    """Yield server names and where they lead; the empty one is any name, at an address that is the service's own."""
    governing = context.model.route(service.host, context.scope.namespace)
    routed: Iterable[tuple[str, Shares]] = ()
    whole: Shares = ((cluster_name(port.number, "", service.host), 1),)
    if governing is not None:
        source = source_of(context.scope, governing, port.number)
        routed = list(tls_shares(governing, source, context))
        whole = tcp_shares(governing, source, context) or whole
    if routed:
        yield from routed
    else:
        yield service.host, whole
    if any_name:
        yield "", whole
