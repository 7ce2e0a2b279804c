"""Puts the answer of ``/why`` together, along the path of a request: listener, chain, virtual host, route, cluster, endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.codec.http1.limits import HeadLimits
from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.request_parser import RequestParser
from isthmus_proxy.errors import ProtocolError
from isthmus_proxy.http.client_address import Vantage
from isthmus_proxy.http.plan import Plan, make_plan
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import (
    Address,
    DirectResponseConfig,
    Extension,
    FilterChain,
    HttpConnectionManagerConfig,
    ListenerConfig,
    RpcProxyConfig,
    SocketAddress,
)
from isthmus_proxy.route.model import ClusterWeight, Decision, ForwardAction, VirtualHost
from isthmus_proxy.route.scopes import ScopedRoutes
from isthmus_proxy.route.table import RouteTable
from isthmus_proxy.why.chains import explain_chains
from isthmus_proxy.why.endpoints import explain_endpoints
from isthmus_proxy.why.filters import explain_filters
from isthmus_proxy.why.judges import Asker
from isthmus_proxy.why.question import Question, QuestionError
from isthmus_proxy.why.routes import describe, describe_action, explain_routes
from isthmus_proxy.why.scopes import explain_scope

_Row = dict[str, object]


class Clusters(Protocol):
    """What is asked of the cluster manager."""

    def balancing(self, name: str) -> tuple[int, float] | None:
        """Overprovisioning in per cent and panic threshold of a cluster; None for one that does not exist."""

    def hosts(self, name: str) -> list[Endpoint]:
        """Its endpoints."""


class Serving(Protocol):
    """A listener in use (``listener.active_listener.ActiveListener``)."""

    config: ListenerConfig

    @property
    def addresses(self) -> Sequence[Address]:
        """Where it is bound."""

    def chain_for(self, accepted: AcceptedSocket) -> FilterChain | None:
        """The filter chain that would serve a connection."""

    def table_of(self, chain: FilterChain) -> RouteTable | None:
        """The route table in use in a chain; None while there is none."""

    def scopes_of(self, chain: FilterChain) -> ScopedRoutes | None:
        """What chooses the route table in a chain; None where there is one for all."""


@dataclass(frozen=True, slots=True)
class World:
    """What the proxy serves at the moment, which is ``time``, in seconds since 1970. ``extensions`` are filters over xDS."""

    listeners: Sequence[Serving]
    clusters: Clusters
    time: float = 0.0
    extensions: Callable[[str], Extension | None] = lambda _name: None


def explain(question: Question, world: World) -> _Row:
    """The answer as plain data. Raises QuestionError."""
    listener = _listener(question, world)
    local = question.destination or listener.addresses[0]
    accepted = _accepted(question, local)
    chain = listener.chain_for(accepted)
    config = listener.config
    row: _Row = {
        "listener": {
            "name": config.name,
            "addresses": [str(address) for address in listener.addresses],
            "others": [
                {"name": other.config.name, "why_not": "it listens at " + ", ".join(map(str, other.addresses))}
                for other in world.listeners
                if other is not listener
            ],
        },
        "filter_chains": list(explain_chains(config.filter_chains, config.default_filter_chain, chain, accepted)),
    }
    if chain is None:
        row["outcome"] = "no filter chain fits: the connection is closed (NR, filter_chain_not_found)"
        return row
    return row | _network_filter(question, world, listener, chain, local)


def _listener(question: Question, world: World) -> Serving:
    by_name = {listener.config.name: listener for listener in world.listeners}
    names = ", ".join(sorted(by_name)) or "none"
    if question.listener:
        if question.listener not in by_name:
            raise QuestionError(f"there is no listener {question.listener!r}; there are: {names}")
        return by_name[question.listener]
    destination = question.destination
    if destination is None:
        if len(by_name) != 1:
            raise QuestionError(f"name a listener or a destination; there are: {names}")
        return world.listeners[0]
    wildcards = ("::", "0.0.0.0") if ":" in destination.host else ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    for host in (destination.host, *wildcards):
        for listener in world.listeners:
            if SocketAddress(host, destination.port) in listener.addresses:
                return listener
    raise QuestionError(f"no listener has the address {destination}; there are: {names}")


_NO_SOCKET: Any = None  # nothing here looks at the socket


def _accepted(question: Question, local: Address) -> AcceptedSocket:
    accepted = AcceptedSocket(_NO_SOCKET, question.source, local, 0)
    accepted.server_name = question.server_name
    accepted.transport_protocol = question.transport_protocol
    accepted.application_protocols = question.application_protocols
    return accepted


def _network_filter(question: Question, world: World, listener: Serving, chain: FilterChain, local: Address) -> _Row:
    manager = chain.network_filter
    if isinstance(manager, DirectResponseConfig):
        return {"outcome": f"the filter direct_response sends {len(manager.response)} bytes and closes"}
    if isinstance(manager, RpcProxyConfig):
        return {"outcome": f"rpc_proxy serves {manager.codec}; its routes are those of the configuration dump"}
    if not isinstance(manager, HttpConnectionManagerConfig):
        by_name = manager.cluster_from_sni and question.server_name
        clusters = (ClusterWeight(question.server_name),) if by_name else manager.clusters
        return {"outcome": "tcp_proxy relays bytes", "clusters": _clusters(clusters, world.clusters)}
    scheme = b"https" if chain.tls is not None else b"http"
    return _http(question, world, manager, listener.table_of(chain), listener.scopes_of(chain), local, scheme)


def _http(
    question: Question,
    world: World,
    manager: HttpConnectionManagerConfig,
    table: RouteTable | None,
    scopes: ScopedRoutes | None,
    local: Address,
    scheme: bytes,
) -> _Row:
    port = local.port if isinstance(local, SocketAddress) else 0
    peer = question.source.host.encode()
    plan = make_plan(_parsed(question, manager), manager, table, Vantage(peer, port, peer, scheme), 0.0, scopes)
    head, decision, table = plan.head, plan.decision, plan.table
    scoped: _Row = {} if scopes is None else {"scope": explain_scope(scopes, head)}
    if table is None:
        reason = "the route configuration has not come yet" if scopes is None else "no scope gives it routes"
        return scoped | {"outcome": f"{reason}: 404 (NR, route_not_found)"}
    host = table.virtual_host(head.authority)
    row: _Row = scoped | {
        "request": {
            "method": head.method.decode("latin-1"),
            "authority": head.authority.decode("latin-1"),
            "path": head.path.decode("latin-1"),
        },
        "route_configuration": table.configuration.name,
        "virtual_hosts": _virtual_hosts(table, host),
    }
    if host is not None:
        row["routes"] = list(explain_routes(table, host, head, decision))
    if manager.http_filters:
        asker = Asker(
            head,
            str(question.source),
            str(local),
            question.server_name,
            _route_metadata(decision),
            _only_cluster(decision),
            world.time,
        )
        row["filters"] = list(explain_filters(manager.http_filters, asker, decision, world.extensions))
    return row | _outcome(plan, world)


def _route_metadata(decision: Decision | None) -> dict[str, Mapping[str, Any]]:
    metadata = {} if decision is None else decision.route.metadata
    return {name: value for name, value in metadata.items() if isinstance(value, Mapping)}


def _only_cluster(decision: Decision | None) -> str:
    """Where the route sends requests, if that is always the same cluster."""
    action = None if decision is None else decision.route.action
    names = {each.cluster for each in action.clusters} if isinstance(action, ForwardAction) else set()
    return names.pop() if len(names) == 1 else ""


def _parsed(question: Question, manager: HttpConnectionManagerConfig) -> ParsedRequest:
    limits = HeadLimits(
        manager.max_request_headers_kb * 1024, manager.max_headers_count, manager.headers_with_underscores_action
    )
    parser = RequestParser(limits, HeadMemo(), accept_http_10=manager.accept_http_10)
    try:
        for event in parser.receive(question.request):
            if isinstance(event, ParsedRequest):
                return event
    except ProtocolError as error:
        raise QuestionError(f"the codec refuses such a request: {error.status}, {error.detail}") from error
    raise QuestionError("the codec waits for more of such a request")


def _virtual_hosts(table: RouteTable, chosen: VirtualHost | None) -> list[_Row]:
    rows = []
    for host in table.configuration.virtual_hosts:
        domains = [domain.decode("latin-1") for domain in host.domains]
        row: _Row = {"name": host.name, "domains": domains, "chosen": host is chosen}
        if host is not chosen:
            found = (
                "one with a more specific domain fits"
                if chosen is not None
                else "none of its domains fits the authority"
            )
            row["why_not"] = (
                found if chosen is None or "*" in "".join(domains) else "none of its domains fits the authority"
            )
        rows.append(row)
    rows.sort(key=lambda row: not row["chosen"])
    return rows[:_MOST_VIRTUAL_HOSTS]


_MOST_VIRTUAL_HOSTS = 100


def _outcome(plan: Plan, world: World) -> _Row:
    if plan.reply is not None:
        flags = ", ".join(plan.reply.flags) or "-"
        return {"outcome": f"the proxy answers {plan.reply.status} ({plan.reply.details}; flags {flags})"}
    decision, action = plan.decision, plan.action
    if decision is None:
        return {"outcome": "no route: 404"}
    route = decision.route
    row: _Row = {"route": {"name": route.name, "match": describe(route.match), "does": describe_action(route)}}
    if action is None or not isinstance(action, ForwardAction):
        return row | {"outcome": describe_action(route)}
    weights = action.clusters
    header = weights[0].cluster_header
    if header and len(weights) == 1:
        value = plan.head.get(header)
        if value is None:
            name = header.decode("latin-1")
            return row | {
                "outcome": f"the header {name} names the cluster, and is absent: {action.cluster_not_found_status}"
            }
        weights = (ClusterWeight(value.decode("latin-1"), metadata_match=weights[0].metadata_match),)
    return row | {"outcome": "forward", "clusters": _clusters(weights, world.clusters)}


def _clusters(weights: Sequence[ClusterWeight], clusters: Clusters) -> list[_Row]:
    total = sum(weight.weight for weight in weights)
    return [
        {"name": each.cluster, "share": f"{each.weight} of {total}"}
        | _cluster(each.cluster, each.metadata_match, clusters)
        for each in weights
    ]


def _cluster(name: str, criteria: Criteria | None, clusters: Clusters) -> _Row:
    balancing = clusters.balancing(name)
    if balancing is None:
        return {"why_not": "there is no such cluster (NC, cluster_not_found)"}
    hosts = clusters.hosts(name)
    loads, rows = explain_endpoints(hosts, *balancing, criteria)
    row: _Row = {
        "endpoint_count": len(hosts),
        "priorities": [
            {"priority": priority, "healthy_percent": healthy, "degraded_percent": degraded, "panic": panic}
            for priority, (healthy, degraded, panic) in enumerate(
                zip(loads.healthy, loads.degraded, loads.panic, strict=True)
            )
        ],
        "endpoints": rows,
    }
    if not any(each["chosen_from"] for each in rows):
        row["why_not"] = "no endpoint can be chosen (UH, no_healthy_upstream)"
    return row
