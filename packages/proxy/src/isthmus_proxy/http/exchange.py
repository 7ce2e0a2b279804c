"""One request and its response: routed, sent upstream (again where a retry policy says so), relayed, and accounted for.

Theory of operation. An exchange begins with a parsed head and ends exactly once, in ``finish``: when the response has been
written, after a local reply, or when the client is gone. Between the two it is bound to at most one upstream request at a
time; one it has given up it never hears of again, because giving up detaches it there. Bodies pass through in both
directions as they come. The request's body is also kept as long as a new attempt may need it, up to the buffer limit.

The state has one owner, and what acts on it has a module for each job: ``forwarding`` begins, ``sending`` puts an attempt
on a connection, ``retries`` plans others, ``following`` sends the request elsewhere, ``responding`` passes the response on.
What is left is the state and who may change it; parted further, its rules would stand in two files, so it is a little over 500 lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.codec.http1.events import EndOfMessage, Event
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.serialise import chunk
from isthmus_proxy.http.balancing import Balancing
from isthmus_proxy.http.charge import charge, outcome
from isthmus_proxy.http.following import moves
from isthmus_proxy.http.forwarding import forward, pick_cluster
from isthmus_proxy.http.internal_redirect import Trail
from isthmus_proxy.http.local_answer import Edit, count_refusal, local_answer, reply_edits
from isthmus_proxy.http.local_reply import (
    NO_HEALTHY_UPSTREAM,
    OVERFLOW,
    RESET_FLAGS,
    STREAM_IDLE,
    LocalReply,
    reset_details,
    upstream_reset,
)
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.plan import Plan, Target
from isthmus_proxy.http.replay import ReplayBody
from isthmus_proxy.http.responding import Trailers, end_response, inform, plan_response, switched, write_response_head
from isthmus_proxy.http.response_plan import ResponsePlan
from isthmus_proxy.http.retries import Retries
from isthmus_proxy.http.retry_hosts import avoiding
from isthmus_proxy.http.sending import pass_body, send, trailers_for
from isthmus_proxy.http.shadow import Shadows
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.http.stream_timeouts import max_duration_reached
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.reactor.splice import WORTH_BYTES
from isthmus_proxy.route.model import ClusterWeight, ForwardAction
from isthmus_proxy.route.request_groups import Groups
from isthmus_proxy.route.rewrite import apply_response
from isthmus_proxy.upstream.http1_connection import Http1Connection
from isthmus_proxy.upstream.pool import RequestPool, UpstreamRequest

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.downstream_connection import DownstreamConnection
    from isthmus_proxy.http.http2_stream import Http2DownstreamStream

_NO_TRAIL = Trail()
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
"""Methods that a proxy may repeat on its own when a kept-alive connection turns out dead (RFC 9110, 9.2.2)."""


class Exchange:
    """See the module. ``request_done``: the whole request is here. ``response_started``: its head has been written.

    ``identifier`` is the one given to the request, or its own; ``target`` is where it goes, None if nowhere; ``response``
    is how the response head was made, None for local replies.
    """

    __slots__ = (
        "_duration", "_revived", "balancing", "body", "body_ended", "cluster", "connection", "ended", "endpoint",
        "identifier", "info", "manager", "pool", "priority", "request", "request_done", "response",
        "response_started", "retries", "shadows", "target", "trail", "trailers", "upstream", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        connection: DownstreamConnection | Http2DownstreamStream,
        manager: HttpConnectionManager,
        request: ParsedRequest,
        *,
        done: bool,
    ) -> None:
        self.connection = connection
        self.manager = manager
        self.request = request
        self.request_done = done
        self.response_started = False
        self.ended = False
        now = manager.reactor.now
        self.info = StreamInfo(now, manager.clock.at(now))
        self.target: Target | None = None
        self.cluster: Cluster | None = None
        self.endpoint: Endpoint | None = None
        self.pool: RequestPool | None = None
        self.priority = 0
        self.upstream: UpstreamRequest | None = None
        self.body_ended = False
        self.trailers: Trailers = ()
        self.waiting = False
        self.retries: Retries | None = None
        self._duration: Timer | None = None
        self.shadows: Shadows | None = None
        self.trail = _NO_TRAIL
        self._revived = False
        self.balancing: Balancing | None = None
        self.body = ReplayBody()
        self.identifier = b""
        self.response: ResponsePlan | None = None

    # ---- the request's way in ----

    def take_body(self, before: Exchange) -> None:
        """Send what the client sent for ``before``."""
        self.body = before.body
        self.body_ended, self.trailers = before.body_ended, before.trailers

    def begin(self, plan: Plan, identifier: bytes) -> None:
        """Act on ``plan``; ``identifier`` is the request's own if its head lacks one."""
        info = self.info
        info.request = plan.head
        self.identifier = identifier
        if self.request_done:
            info.request_end_at = info.started_at
        if plan.client:
            info.downstream_remote = plan.client
        if plan.decision is not None or (plan.reply is not None and plan.reply.flags == ("NR",)):
            self.manager.stats.rq_total.value += 1
        if plan.reply is not None:
            count_refusal(plan.reply, self.manager.stats)
            self.reply(plan.reply)
        elif plan.action is None or plan.decision is None:
            self._answer(plan)
        else:
            forward(self, plan, plan.decision, plan.action)

    def refuse(self, reply: LocalReply) -> None:
        """Answer without looking at the request any further."""
        request = self.request
        self.info.request = RequestHead(
            request.method, request.path, request.authority, list(request.headers), request.version
        )
        if self.request_done:
            self.info.request_end_at = self.info.started_at
        self.reply(reply)

    def end_connection(self) -> None:
        """Let this be the last request of its connection; the client is told so."""
        self.connection.end_after_response()

    def _answer(self, plan: Plan) -> None:
        """A redirect or a direct response."""
        decision = plan.decision
        reply = local_answer(decision, plan.head, self.info, self.manager.stats) if decision is not None else None
        if decision is None or reply is None:
            return
        self.info.route_name = decision.route.name
        self.info.virtual_host = decision.virtual_host.name
        self._local_reply(reply, lambda headers: apply_response(decision, None, headers, self.info))

    def pick(self, plan: Plan, action: ForwardAction) -> ClusterWeight:
        """One of the clusters between which the route divides its requests."""
        return pick_cluster(self, plan, action)

    def limit_duration(self, seconds: float) -> None:
        """Let the stream last no longer than ``seconds`` from now."""
        self._duration = self.manager.reactor.call_later(seconds, self._max_duration_reached)

    def start_route_timeout(self) -> None:
        """The request is complete: from now on the route's timeout runs."""
        timeout = self.target.action.timeout if self.target is not None else 0.0
        if timeout:
            self.connection.route_timer.set(self.manager.reactor.now + timeout)

    def request_data(self, data: bytes) -> None:
        """More of the request's body."""
        self.info.bytes_received += len(data)
        if not self.ended and self.target is not None:
            pass_body(self, data)

    def request_end(self, trailers: Trailers = ()) -> None:
        """The request is complete. Its trailers go on over HTTP/2; over HTTP/1.1 only where both sides enable them, as in Envoy."""
        self.trailers = trailers
        self.body_ended = True
        self.request_done = True
        self.info.request_end_at = self.manager.reactor.now
        if self.ended or self.target is None:
            return
        if self.upstream is not None:
            self.upstream.send_end(trailers_for(self, self.upstream))
        if self.shadows is not None:
            self.shadows.complete()
        self.start_route_timeout()

    # ---- one attempt ----

    def attempt(self) -> None:
        """Choose an endpoint and send the request there, once more if it was sent before."""
        cluster, manager = self.cluster, self.manager
        if cluster is None:
            return
        context = None
        retries = self.retries
        if retries is not None and retries.previous is not None and self.target is not None:
            context = avoiding(self.target.action.retry_policy, retries.previous)
        if self.balancing is not None:
            context = self.balancing.context(context)
        self.info.attempts += 1
        self.info.upstream_transport_failure = ""
        self.info.upstream = None
        endpoint = cluster.choose(context)
        if endpoint is None:
            self.charge(503)
            self.reply(NO_HEALTHY_UPSTREAM)
            return
        if self.target is not None and self.target.terminates:
            pool: RequestPool | None = manager.pools.once(cluster, endpoint, self.priority)
        else:
            authority = self.target.head.authority if self.target is not None else b""
            pool = manager.pools.of(cluster, endpoint, self.priority, authority)
        self.pool = pool
        self.endpoint = endpoint
        connection = pool.acquire(self) if pool is not None else OVERFLOW
        if connection is None:
            self.info.upstream_host = endpoint.name
            self.waiting = True
        elif isinstance(connection, str):
            self._lost(connection, "", sent=False)
        else:
            self.info.upstream_host = endpoint.name
            self._send(connection)

    def pool_ready(self, connection: UpstreamRequest) -> None:
        """The connection waited for is there."""
        self.waiting = False
        self._send(connection)

    def _send(self, connection: UpstreamRequest) -> None:
        if self.target is not None:
            send(self, connection, self.target)

    def terminated(self, answer: ParsedResponse) -> None:
        """The endpoint's connection itself is what the client asked for (CONNECT): say so, and relay."""
        self._response_head(answer)
        self._switch(())

    def give_up(self) -> None:
        """Detach from all upstream requests, whatever their state, and stop the timers of the attempt."""
        self.leave_attempt()
        if self.retries is not None:
            self.retries.give_up()

    def leave_attempt(self) -> None:
        """Detach from the attempt that runs, whatever its state."""
        if self.waiting and self.pool is not None:
            self.waiting = False
            self.pool.cancel(self)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.reset(self)
            self.attempt_over()

    def attempt_over(self) -> None:
        """Give back what an attempt holds."""
        if self.pool is not None:
            self.pool.finished()
        if self.retries is not None:
            self.retries.try_over()

    # ---- the response's way back ----

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Relay what came of the response."""
        retries = self.retries
        if retries is not None:
            retries.stirred()
        switches = self.request.switches
        for event in events:
            if type(event) is bytes:
                self._response_data(event)
            elif type(event) is not ParsedResponse:
                continue
            elif event.status < 200 and event.status != 101:
                self.charge(event.status)
                if self.manager.config.proxy_informational:
                    inform(self, event)
            else:
                if retries is not None and retries.after_response(event, done=done):
                    return
                if (
                    self.target is not None
                    and self.target.action.internal_redirect is not None
                    and moves(self, event, done=done)
                ):
                    return
                self._response_head(event)
                if switches and switched(self.request, event):
                    self._switch(events)
                    return
        if done:
            last = events[-1] if events else None
            self._response_done(last.trailers if type(last) is EndOfMessage else ())

    def _response_head(self, response: ParsedResponse) -> None:
        if self.target is not None:
            write_response_head(self, response, self.target)
            if response.length >= WORTH_BYTES and isinstance(self.upstream, Http1Connection):
                self.upstream.offer_bypass(self)

    def body_sink(self) -> Connection | None:
        """The client's connection, if it takes the response's body as the endpoint sends it."""
        plan = self.response
        return None if self.ended or plan is None or plan.chunked else self.connection.body_sink()

    def body_passed(self, size: int) -> None:
        """So many bytes of the response's body went straight to the client."""
        if self.retries is not None:
            self.retries.stirred()
        self.info.bytes_sent += size
        self.connection.body_passed(size)

    def plan_response(self, response: ParsedResponse, target: Target) -> ResponsePlan:
        """How the head of ``response`` is written for this client."""
        return plan_response(self, response, target)

    def charge_response(self, response: ParsedResponse) -> None:
        """Count ``response`` and tell outlier detection of it."""
        if self.cluster is not None and not self.info.health_check:
            charge(self.cluster, self.endpoint, response.status, self.groups)
        self.judge(response)

    def judge(self, response: ParsedResponse) -> None:
        """Tell outlier detection of a response, unless it was told already that this attempt took too long."""
        endpoint = self.endpoint
        if (
            endpoint is not None
            and endpoint.monitor is not None
            and not (self.retries is not None and self.retries.blamed)
        ):
            endpoint.monitor.responded(outcome(response))

    @property
    def groups(self) -> Groups:
        """The virtual clusters and the like with which the request is counted."""
        return self.target.groups if self.target is not None else ()

    def charge(self, status: int) -> None:
        """Count a failure that ``status`` stands for."""
        if self.cluster is not None and not self.info.health_check:
            charge(self.cluster, self.endpoint, status, self.groups)

    def blame(self, status: int) -> None:
        """Tell outlier detection that the endpoint left a request without an answer."""
        if self.endpoint is not None and self.endpoint.monitor is not None:
            self.endpoint.monitor.failed(status)

    def _response_data(self, data: bytes) -> None:
        self.info.bytes_sent += len(data)
        plan = self.response
        self.connection.write(chunk(data) if plan is not None and plan.chunked else data)

    def _response_done(self, trailers: Trailers = ()) -> None:
        end_response(self, trailers)

    def _switch(self, events: Sequence[Event]) -> None:
        """The upstream switched protocols: from here on bytes go both ways as they are."""
        upstream, self.upstream = self.upstream, None
        connection = upstream.take_over() if upstream is not None else None
        self.attempt_over()
        self.info.response_code_details = "via_upstream"
        if connection is not None:
            early = b"".join([event for event in events if isinstance(event, bytes)])
            self.connection.tunnel(self, connection, early)

    def tunnel_idle(self) -> None:
        """Nothing passed through the tunnel for too long."""
        self.info.flag("SI")
        self.info.response_code_details = STREAM_IDLE.details

    # ---- failures ----

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The upstream request is lost."""
        if self.waiting:
            self.waiting = False
        else:
            self.upstream = None
            self.attempt_over()
        if self.response_started:
            self.blame(503)
            details = f"upstream_reset_after_response_started{{{reset_details(reason, transport)}}}"
            self.break_off(RESET_FLAGS[reason], details)
        elif reused and not self._revived and self.body.possible and (not sent or self.request.method in _IDEMPOTENT):
            # The endpoint closed a kept-alive connection just as it was used: not a failure of this request.
            self._revived = True
            self.info.attempts -= 1
            self.attempt()
        else:
            self._lost(reason, transport, sent=sent)

    def _lost(self, reason: str, transport: str, *, sent: bool) -> None:
        self.info.upstream_transport_failure = transport
        retries = self.retries
        reply = upstream_reset(reason, transport, retried=retries is not None and retries.tried)
        if reason != OVERFLOW:
            self.blame(503)
        if retries is None or not retries.after_reset(reason, sent=sent):
            self.charge(reply.status)
            self.reply(reply)

    def _max_duration_reached(self) -> None:
        self._duration = None
        max_duration_reached(self)

    def stalled(self, reply: LocalReply, flag: str = "SI") -> None:
        """Nothing moved for too long, or the request's body is malformed: ``reply`` unless a response has begun."""
        self.give_up()
        if self.response_started:
            self.break_off(flag, reply.details)
        else:
            self.reply(reply)

    def break_off(self, flag: str, details: str) -> None:
        """The response cannot be completed: only breaking the connection tells the client so. No ``flag`` if empty."""
        if flag:
            self.info.flag(flag)
        self.info.response_code_details = details
        self.manager.stats.downstream_rq_rx_reset.value += 1  # both, as in Envoy
        self.manager.stats.downstream_rq_tx_reset.value += 1
        self.connection.closing = True
        self.finish()
        self.connection.cut()

    def cancel(self, flag: str = "DC", details: str = "downstream_remote_disconnect") -> None:
        """The client is gone, or has given the request up."""
        self.give_up()
        self.info.flag(flag)
        self.info.response_code_details = details
        self.manager.stats.downstream_rq_rx_reset.value += 1
        self.finish()

    def reply(self, reply: LocalReply) -> None:
        """Answer in place of an upstream."""
        self.give_up()
        self._local_reply(reply, reply_edits(self.target, self.info))

    def _local_reply(self, reply: LocalReply, edit: Edit | None) -> None:
        self.connection.local_reply(self, reply, edit)

    def replied(self, details: str, flags: tuple[str, ...]) -> None:
        """The local reply has been written."""
        for flag in flags:
            self.info.flag(flag)
        self.info.response_code_details = details
        self.response_started = True
        if not self.request_done:
            self.manager.stats.answered_early()
        self.finish()

    # ---- back-pressure ----

    def upstream_blocked(self) -> None:
        """The endpoint reads too slowly: take no more from the client."""
        self.connection.hold_request()

    def upstream_writable(self) -> None:
        """The endpoint has caught up."""
        self.connection.release_request()

    def downstream_blocked(self) -> None:
        """The client reads too slowly: take no more from the endpoint."""
        if self.upstream is not None:
            self.upstream.pause()

    def downstream_writable(self) -> None:
        """The client has caught up."""
        if self.upstream is not None:
            self.upstream.resume()

    # ---- the end ----

    def end(self) -> None:
        """Let go of what was counted and timed for the exchange."""
        self.ended = True
        if self.retries is not None:
            self.retries.release()
            self.retries = None
        if self._duration is not None:
            self._duration.discard()

    def finish(self) -> None:
        """End the exchange: once, whatever ended it."""
        if self.ended:
            return
        self.end()
        if self.shadows is not None and not self.request_done:
            self.shadows.drop()
        self.manager.record(self)
        self.connection.exchange_finished(self)
