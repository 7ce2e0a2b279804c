"""What a route answers without an upstream: redirects and direct responses (config.route.v3)."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.http.local_reply import ABSOLUTE_PATH_REJECTED, CONNECT_NOT_ROUTED, UPGRADE_FAILED, LocalReply
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.plan import Target
from isthmus_proxy.http.stats import HttpStats
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.model import Decision, DirectResponseAction, NonForwardingAction, RedirectAction
from isthmus_proxy.route.redirect import location
from isthmus_proxy.route.rewrite import apply_response

Edit = Callable[[Headers], None]


def local_answer(decision: Decision, head: RequestHead, info: StreamInfo, stats: HttpStats) -> LocalReply | None:
    """The reply of ``decision``'s route, counted; None if the route forwards."""
    action = decision.route.action
    if isinstance(action, RedirectAction):
        stats.rq_direct_response.value += 1  # as in Envoy, whose rq_redirect counts redirects of upstreams
        target = location(decision.route.match.path, action, head)
        return LocalReply(action.status, "direct_response", headers=((b"location", target),))
    if isinstance(action, DirectResponseAction):
        stats.rq_direct_response.value += 1
        # A status that speaks of another place names this one, as in Envoy.
        place = head.scheme + b"://" + head.authority + head.path
        named = ((b"location", place),) if action.status == 201 or 300 <= action.status <= 399 else ()
        if action.render is None:
            return LocalReply(action.status, "direct_response", action.body, headers=named)
        body = action.render(info)
        return LocalReply(action.status, "direct_response", body, headers=named, content_type=action.content_type)
    if isinstance(action, NonForwardingAction):
        stats.no_cluster.value += 1
        return NOT_FORWARDED
    return None


NOT_FORWARDED = LocalReply(503, "cluster_not_found", flags=("NC",))
"""A route for servers without upstreams names no cluster."""


def count_refusal(reply: LocalReply, stats: HttpStats) -> None:
    """Count a request that is refused before it has a route."""
    if reply in (CONNECT_NOT_ROUTED, UPGRADE_FAILED):
        stats.answered_early()  # what follows such a head is no body, so the request never ends
    if reply.flags == ("NR",):
        stats.no_route.value += 1
    elif reply is ABSOLUTE_PATH_REJECTED:
        stats.downstream_rq_non_relative_path.value += 1
    elif reply.details == "path_normalization_failed":
        stats.downstream_rq_failed_path_normalization.value += 1
    elif reply.status == 403:
        stats.downstream_rq_ws_on_non_ws_route.value += 1


def reply_edits(target: Target | None, info: StreamInfo) -> Edit | None:
    """What the route to ``target`` does to a reply in place of its upstream's; None for nothing."""
    if target is None:
        return None
    virtual_host = target.decision.virtual_host
    counted = virtual_host.include_attempt_count_in_response
    if not (target.decision.response_edits or target.weight.response_headers or counted):
        return None

    def edit(headers: Headers) -> None:
        apply_response(target.decision, target.weight, headers, info)
        if counted and info.attempts:
            headers.append((b"x-envoy-attempt-count", b"%d" % info.attempts))

    return edit
