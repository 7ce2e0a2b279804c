"""Passes an upstream's response on to the client of an exchange: its head, its end, and who gets trailers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.framing import CHUNKED, UNTIL_CLOSE
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.serialise import LAST_CHUNK, last_chunk
from isthmus_proxy.http.hop_by_hop import response_headers
from isthmus_proxy.http.plan import Target
from isthmus_proxy.http.response_plan import ResponsePlan, make_response_plan
from isthmus_proxy.upstream.pool import UpstreamRequest

if TYPE_CHECKING:
    from isthmus_proxy.http.exchange import Exchange

Trailers = tuple[tuple[bytes, bytes], ...]


def write_response_head(exchange: Exchange, response: ParsedResponse, target: Target) -> None:
    """Write the head of ``response`` as the client gets it, by the plan that ``response`` remembers if it fits."""
    manager, info, connection = exchange.manager, exchange.info, exchange.connection
    now = manager.reactor.now
    info.upstream_first_byte_at = now
    info.status = response.status
    plan = remembered_plan(exchange, response, target)
    if plan is None:
        plan = exchange.plan_response(response, target)
    else:
        plan.head.repeated = True
    info.response = plan.head
    exchange.response = plan
    exchange.response_started = True
    took = now - (info.request_end_at or now)
    head = plan.encode(int(took * 1000.0), manager.clock.date(now))
    if plan.identified:
        head = plan.identify(head, exchange.identifier)
    connection.write_head(head, response.spelling)
    if exchange.retries is None:
        exchange.charge_response(response)
    else:
        exchange.retries.answered(response)


def inform(exchange: Exchange, response: ParsedResponse) -> None:
    """Pass an interim response on. HTTP/1.0 knows none (RFC 9110, 15.2), and behind the final one it would make no sense."""
    if exchange.response_started or exchange.ended or exchange.request.version == b"HTTP/1.0":
        return
    exchange.manager.stats.downstream_rq_1xx.value += 1
    exchange.connection.informational(response.status, response_headers(response))


def remembered_plan(exchange: Exchange, response: ParsedResponse, target: Target) -> ResponsePlan | None:
    """The plan that ``response`` remembers, if it fits."""
    plan = response.plan
    if (
        plan is None
        or type(plan) is not exchange.connection.plan_type
        or plan.style is not target.style
        or plan.manager is not exchange.manager.config
        or not exchange.request.plain
        or (exchange.balancing is not None and exchange.balancing.set_cookies)
    ):
        return None
    return plan


def plan_response(exchange: Exchange, response: ParsedResponse, target: Target) -> ResponsePlan:
    """Make the plan of ``response``, remembered with it where it would be the same for other requests."""
    request, connection = exchange.request, exchange.connection
    if request.version == b"HTTP/1.0" and response.framing in (CHUNKED, UNTIL_CLOSE):
        connection.closing = True
    if request.switches and not connection.http2 and not switched(request, response):
        connection.closing = True  # what the client sends on is no request, and must not be read as one
    cookies = exchange.balancing.set_cookies if exchange.balancing is not None else ()
    plan = make_response_plan(
        response,
        exchange.manager.config,
        target.style,
        exchange.info,
        request,
        keep_alive=not (connection.closing or exchange.manager.draining),
        cookies=cookies,
        plan_type=connection.plan_type,
    )
    if (
        target.style.static
        and request.plain
        and not cookies
        and not target.decision.virtual_host.include_attempt_count_in_response
    ):
        response.plan = plan
    return plan


def end_response(exchange: Exchange, trailers: Trailers) -> None:
    """The upstream's response is complete: end it for the client."""
    plan = exchange.response
    if trailers and exchange.upstream is not None and not trailers_pass(exchange, exchange.upstream):
        trailers = ()  # without an upstream they have waited for filters, and may pass
    exchange.upstream = None
    exchange.attempt_over()
    if plan is not None and plan.chunked:
        exchange.connection.write(last_chunk(trailers) if trailers else LAST_CHUNK)
    elif trailers:
        exchange.connection.response_trailers(trailers)
    info = exchange.info
    if exchange.cluster is not None:
        took = (exchange.manager.reactor.now - (info.request_end_at or info.started_at)) * 1000.0
        exchange.cluster.stats.upstream_rq_time.record(took)
        for group in exchange.groups:
            group.upstream_rq_time.record(took)
    info.response_code_details = "via_upstream"
    if not exchange.request_done:
        exchange.manager.stats.answered_early()
    exchange.finish()


def trailers_pass(exchange: Exchange, upstream: UpstreamRequest | None) -> bool:
    """Whether both sides carry trailers: HTTP/2 does, HTTP/1.1 where enable_trailers is set."""
    return (
        upstream is not None
        and exchange.cluster is not None
        and (upstream.http2 or exchange.cluster.config.enable_trailers)
        and (exchange.connection.http2 or exchange.manager.config.enable_trailers)
    )


def switched(request: ParsedRequest, response: ParsedResponse) -> bool:
    """Whether ``response`` grants what ``request`` asked for: from here on the connection carries something else."""
    return response.status == 101 or (request.method == b"CONNECT" and 200 <= response.status < 300)
