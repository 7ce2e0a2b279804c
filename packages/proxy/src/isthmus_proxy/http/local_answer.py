"""What a route answers without an upstream: redirects and direct responses (config.route.v3)."""

from __future__ import annotations

from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stats import HttpStats
from isthmus_proxy.route.model import Decision, DirectResponseAction, RedirectAction
from isthmus_proxy.route.redirect import location


def local_answer(decision: Decision, head: RequestHead, stats: HttpStats) -> LocalReply | None:
    """The reply of ``decision``'s route, counted; None if the route forwards."""
    action = decision.route.action
    if isinstance(action, RedirectAction):
        stats.rq_redirect.value += 1
        target = location(decision.route.match.path, action, head)
        return LocalReply(action.status, "direct_response", headers=((b"location", target),))
    if isinstance(action, DirectResponseAction):
        stats.rq_direct_response.value += 1
        return LocalReply(action.status, "direct_response", action.body)
    return None


def count_refusal(reply: LocalReply, stats: HttpStats) -> None:
    """Count a request that has no route, or asks for an upgrade that is not enabled."""
    if reply.flags == ("NR",):
        stats.no_route.value += 1
    elif reply.status == 403:
        stats.downstream_rq_ws_on_non_ws_route.value += 1
