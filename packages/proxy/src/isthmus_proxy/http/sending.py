"""Sends the request of an exchange: one attempt's head, what is here of the body, and what comes of it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.framing import NO_BODY
from isthmus_proxy.codec.http1.response import CONNECTED
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.plan import Target
from isthmus_proxy.http.responding import Trailers, trailers_pass
from isthmus_proxy.upstream.pool import UpstreamRequest
from isthmus_proxy.upstream.upgrade import CONNECT, KEY, Upgrade, fresh_key

if TYPE_CHECKING:
    from isthmus_proxy.http.exchange import Exchange


def send(exchange: Exchange, connection: UpstreamRequest, target: Target) -> None:
    """Send the request of ``exchange`` over ``connection``, which is bound to it from here on."""
    exchange.upstream = connection
    exchange.info.upstream = connection.end
    for group in target.groups:
        group.upstream_rq_total.value += 1
    if connection.http2:
        _send_over_http2(exchange, connection, target)
        return
    request = exchange.request
    if target.static and exchange.info.attempts == 1:
        exchange.info.request = target.head
        exchange.info.original_path = target.original_path
        head = target.before + exchange.identifier + target.after if target.id_index >= 0 else target.before
    else:
        finished = _finish_head(exchange, target)
        if target.needs_key:
            finished.headers.append((KEY, fresh_key(exchange.manager.getrandbits)))
        head = target.encode(finished)
    if target.terminates:
        exchange.terminated(CONNECTED)
        return
    spelling = request.spelling or connection.spelling
    if spelling is not None:
        head = spelling.respell(head)
    connection.send_head(
        exchange,
        request.method,
        head,
        done=exchange.request_done,
        upgrade=_wanted(exchange, target),
        chunked=target.chunked,
    )
    _sent(exchange, connection, target)


def _wanted(exchange: Exchange, target: Target) -> Upgrade | None:
    """What the connection is to carry from the answer on; None if that is nothing special."""
    if not target.upgrade:
        return None
    head = exchange.info.request
    key = head.get(KEY) if head is not None else None
    return Upgrade(target.framing.upgrade or CONNECT, key or b"")


def _send_over_http2(exchange: Exchange, connection: UpstreamRequest, target: Target) -> None:
    info, request = exchange.info, exchange.request
    if target.static and info.attempts == 1:
        info.request = target.head
        info.original_path = target.original_path
        head = target.http2_head(exchange.identifier)
    else:
        head = target.http2_encode(_finish_head(exchange, target))
    wanted = _wanted(exchange, target)
    done = request.framing == NO_BODY and wanted is None
    connection.send_head(exchange, request.method, head, done=done, upgrade=wanted)
    _sent(exchange, connection, target)


def _sent(exchange: Exchange, connection: UpstreamRequest, target: Target) -> None:
    """The head is on its way: send what is here of the body."""
    body = exchange.body
    if body.parts is not None:
        for data in body.parts:
            connection.send_body(data)
        exchange.connection.release_request()
    if exchange.body_ended:
        connection.send_end(trailers_for(exchange, connection))
    retries = exchange.retries
    if retries is not None and retries.state is not None:
        if target.action.retry_policy is not None:
            retries.try_sent(target.action.retry_policy)
    elif target.action.internal_redirect is None and (
        not exchange.request_done or (body.parts is not None and connection.requests <= 1)
    ):
        body.forget()


def _finish_head(exchange: Exchange, target: Target) -> RequestHead:
    """The head of this attempt, made for it alone."""
    info = exchange.info
    timeout = target.action.timeout
    due = exchange.connection.route_timer.at
    if timeout and info.attempts > 1 and due != float("inf"):
        timeout = max(due - exchange.manager.reactor.now, 0.001)
    hostname = exchange.endpoint.config.hostname if exchange.endpoint is not None else ""
    head = target.finish(info, exchange.identifier, info.attempts, timeout, hostname)
    if info.attempts > 1 and target.decision.virtual_host.include_is_timeout_retry_header:
        after_timeout = exchange.retries is not None and exchange.retries.after_timeout
        head.headers.append((b"x-envoy-is-timeout-retry", b"true" if after_timeout else b"false"))
    return head


def trailers_for(exchange: Exchange, upstream: UpstreamRequest) -> Trailers:
    """The request's trailers as far as ``upstream`` may have them."""
    return exchange.trailers if exchange.trailers and trailers_pass(exchange, upstream) else ()


def pass_body(exchange: Exchange, data: bytes) -> None:
    """Send body bytes if there is a connection, and keep them while they may be needed (again)."""
    upstream, body = exchange.upstream, exchange.body
    if upstream is not None:
        upstream.send_body(data)
    if exchange.shadows is not None:
        exchange.shadows.send(data)
    if body.possible and body.keep(data) > _body_limit(exchange):
        if upstream is None:
            exchange.connection.hold_request()
        else:
            _forget_body(exchange)


def _body_limit(exchange: Exchange) -> int:
    """Bytes of the body that may be kept."""
    limit = exchange.target.action.buffer_limit if exchange.target is not None else None
    return exchange.connection.buffer_limit if limit is None else limit


def _forget_body(exchange: Exchange) -> None:
    """Keep the body no longer: from now on the request cannot be sent again."""
    exchange.body.forget()
    if exchange.retries is not None and exchange.cluster is not None and exchange.retries.abandon():
        exchange.cluster.stats.retry_or_shadow_abandoned.value += 1
