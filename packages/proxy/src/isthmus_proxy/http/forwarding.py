"""Begins to forward an exchange as its route says: which of several clusters, retries, limits on its duration, copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.framing import NO_BODY
from isthmus_proxy.http.balancing import Balancing, destination_of, ip_of
from isthmus_proxy.http.local_reply import cluster_not_found
from isthmus_proxy.http.plan import Plan, Target
from isthmus_proxy.http.retries import Retries
from isthmus_proxy.http.retry import RetryState
from isthmus_proxy.http.shadow import start_shadows
from isthmus_proxy.route.hash_policy import Client, hash_request
from isthmus_proxy.route.model import ClusterWeight, Decision, ForwardAction
from isthmus_proxy.route.table import pick, pick_by_number

if TYPE_CHECKING:
    from isthmus_proxy.http.exchange import Exchange


def forward(exchange: Exchange, plan: Plan, decision: Decision, action: ForwardAction) -> None:
    """Begin the first attempt of ``exchange``."""
    manager = exchange.manager
    weight = action.clusters[0]
    if len(action.clusters) > 1:
        weight = exchange.pick(plan, action)
    target = exchange.target = plan.target(weight, exchange.request, manager.styles)
    info = exchange.info
    info.route_name = decision.route.name
    info.virtual_host = decision.virtual_host.name
    cluster = exchange.cluster = manager.clusters.get(target.cluster)
    if cluster is None:
        manager.stats.no_cluster.value += 1
        exchange.reply(cluster_not_found(action.cluster_not_found_status))
        return
    info.upstream_cluster = target.cluster
    if target.groups:
        info.virtual_cluster = target.groups[-1].name
    exchange.priority = action.priority
    if target.rules is not None:
        exchange.retries = Retries(exchange, RetryState(target.rules, plan.head, manager.runtime))
    if target.duration:
        exchange.limit_duration(target.duration)
    if target.balanced or info.dynamic_metadata is not None or cluster.config.original_dst is not None:
        head = plan.named_head(exchange.identifier)
        exchange.balancing = Balancing(action, weight, head, _client(exchange, plan), info)
        if cluster.config.original_dst is not None:
            # The header is looked for where the route has edited it, as in Envoy.
            sent = target.finish(info, exchange.identifier, 1, action.timeout)
            exchange.balancing.destination = destination_of(cluster, sent, exchange.connection.original_destination)
    if exchange.request_done and not target.upgrade:  # a request to switch protocols never ends
        exchange.start_route_timeout()
    exchange.attempt()
    if action.mirrors and not exchange.ended:
        _mirror(exchange, target)


def pick_cluster(exchange: Exchange, plan: Plan, action: ForwardAction) -> ClusterWeight:
    """One of several clusters: by the request's hash where the route says so and there is one, else by lot."""
    if action.weights_by_hash:
        head = plan.named_head(exchange.identifier)
        number, _ = hash_request(action.hash_policies, head, _client(exchange, plan))
        if number is not None:
            return pick_by_number(action, number)
    return pick(action, exchange.manager.random(), exchange.manager.runtime)


def _client(exchange: Exchange, plan: Plan) -> Client:
    remote = exchange.connection.remote
    return Client(ip_of(plan.client or remote), remote, exchange.connection.local)


def _mirror(exchange: Exchange, target: Target) -> None:
    action = target.action
    exchange.shadows = start_shadows(
        action.mirrors,
        exchange.manager,
        target.finish(exchange.info, exchange.identifier, 1, action.timeout),
        exchange.info,
        timeout=action.timeout,
        limit=exchange.connection.buffer_limit,
        done=exchange.request_done,
        bare=exchange.request.framing == NO_BODY,
    )
