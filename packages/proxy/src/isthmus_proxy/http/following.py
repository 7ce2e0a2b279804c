"""Sends an exchange elsewhere, as a redirect of its upstream says (RouteAction.internal_redirect_policy).

``http/internal_redirect.py`` decides where; the request goes on as another exchange, which answers the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.internal_redirect import Moved, follow
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.http.plan import Target, moved_plan
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.route.model import Decision, InternalRedirectPolicy

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.exchange import Exchange


def moves(exchange: Exchange, response: ParsedResponse, *, done: bool) -> bool:
    """Whether ``response``, complete if ``done``, is a redirect that is followed in the client's place."""
    target, cluster = exchange.target, exchange.cluster
    policy = target.action.internal_redirect if target is not None else None
    if policy is None or target is None or cluster is None or response.status not in policy.codes:
        return False
    moved = _followed(exchange, policy, target, response)
    if moved is None:
        cluster.stats.upstream_internal_redirect_failed_total.value += 1
        return False
    cluster.stats.upstream_internal_redirect_succeeded_total.value += 1
    if exchange.retries is not None and exchange.retries.tried:
        cluster.stats.upstream_rq_retry_success.value += 1
    exchange.judge(response)
    if done:
        exchange.upstream = None
        exchange.attempt_over()
    exchange.give_up()
    _move_on(exchange, moved, response)
    return True


def _followed(
    exchange: Exchange, policy: InternalRedirectPolicy, target: Target, response: ParsedResponse
) -> Moved | None:
    """Where ``response`` leads; None if it is for the client, which is counted where a check refused to follow."""
    manager = exchange.manager
    if not exchange.request_done or not exchange.body.possible:
        return None
    if not any(name == b"location" for name, _ in response.headers):
        return None
    attempts, timeout = exchange.info.attempts, target.action.timeout
    sent = target.finish(StreamInfo(0.0, 0.0), exchange.identifier, attempts, timeout)
    route = target.decision.route.name
    found = follow(policy, response, sent, route, exchange.trail, lambda head: _decide(manager, head))
    if isinstance(found, str):
        counter: Counter = getattr(manager.stats, f"passthrough_internal_redirect_{found}")
        counter.value += 1
        return None
    return found


def _decide(manager: HttpConnectionManager, head: RequestHead) -> Decision | None:
    table = manager.table_for(head)
    return table.decide(head, manager.random()) if table is not None else None


def _move_on(exchange: Exchange, moved: Moved, response: ParsedResponse) -> None:
    """End ``exchange`` here and begin it anew."""
    manager, info, table = exchange.manager, exchange.info, exchange.manager.table_for(moved.head)
    if table is None:
        return
    info.status = response.status
    info.response = ResponseHead(response.status, list(response.headers))
    info.upstream_first_byte_at = manager.reactor.now
    info.response_code_details = "internal_redirect"
    info.route_name = moved.decision.route.name  # where it goes, as Envoy's log says
    info.upstream_cluster = moved.cluster
    info.request = moved.head
    exchange.end()
    manager.record(exchange, answered=False)
    request = exchange.request.as_get() if moved.bodyless else exchange.request
    upgrade = exchange.target is not None and exchange.target.upgrade
    following = exchange.connection.serve_instead(request)
    following.info.request_id = info.request_id
    following.info.span = info.span
    following.info.bytes_received = info.bytes_received * (1 if moved.bodyless else 2)  # and once more, as replayed
    following.trail = moved.trail
    if not moved.bodyless:
        following.take_body(exchange)
    following.begin(moved_plan(table, moved.head, moved.decision, upgrade=upgrade), exchange.identifier)
