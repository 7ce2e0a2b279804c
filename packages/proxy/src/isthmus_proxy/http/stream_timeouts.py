"""What happens to an exchange that takes too long as a whole (RouteAction.timeout, MaxStreamDuration)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.http.local_reply import ALTERNATIVE_TIMEOUT, MAX_DURATION, MAX_DURATION_INCOMPLETE, ROUTE_TIMEOUT

if TYPE_CHECKING:
    from isthmus_proxy.http.exchange import Exchange


def max_duration_reached(exchange: Exchange) -> None:
    """The stream has lasted as long as its route allows."""
    exchange.manager.stats.downstream_rq_max_duration_reached.value += 1
    exchange.stalled(MAX_DURATION if exchange.request_done else MAX_DURATION_INCOMPLETE, "")


def route_timed_out(exchange: Exchange) -> None:
    """The response did not come within the route's timeout."""
    asked = exchange.upstream is not None
    exchange.give_up()
    if exchange.cluster is not None:
        exchange.cluster.stats.upstream_rq_timeout.value += 1
    for group in exchange.groups:
        group.upstream_rq_timeout.value += 1
    if exchange.endpoint is not None:
        exchange.endpoint.rq_timeout += 1
    if exchange.response_started:
        exchange.break_off("UT", "response_timeout")
        return
    status = exchange.target.action.timeout_status if exchange.target is not None else 504
    exchange.charge(status)
    if asked:
        exchange.blame(504)
    exchange.reply(ROUTE_TIMEOUT if status == 504 else ALTERNATIVE_TIMEOUT)
