"""One request and its response: routed, sent upstream (again where a retry policy says so), relayed, and accounted for.

Theory of operation. An exchange begins with a parsed head and ends exactly once, in ``finish``: when the response has been
written, after a local reply, or when the client is gone. Between the two it is bound to at most one upstream request at a
time; one it has given up it never hears of again, because giving up detaches it there. Bodies pass through in both
directions as they come. The request's body is also kept as long as a new attempt may need it, up to the buffer limit.

The file is longer than others because this state has one owner: every way in which an exchange can go on or end is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.codec.http1.events import EndOfMessage, Event
from isthmus_proxy.codec.http1.framing import CHUNKED, NO_BODY, UNTIL_CLOSE
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import CONNECTED, ParsedResponse
from isthmus_proxy.codec.http1.serialise import LAST_CHUNK, chunk, last_chunk
from isthmus_proxy.http.balancing import Balancing, ip_of
from isthmus_proxy.http.charge import charge, charge_retried, outcome
from isthmus_proxy.http.hedge import Rival, Rivals
from isthmus_proxy.http.internal_redirect import Moved, Trail, follow
from isthmus_proxy.http.local_answer import count_refusal, local_answer
from isthmus_proxy.http.local_reply import (
    ALTERNATIVE_TIMEOUT,
    MAX_DURATION,
    MAX_DURATION_INCOMPLETE,
    NO_HEALTHY_UPSTREAM,
    OVERFLOW,
    PER_TRY_IDLE_TIMEOUT,
    PER_TRY_TIMEOUT,
    RESET_FLAGS,
    ROUTE_TIMEOUT,
    STREAM_IDLE,
    LocalReply,
    cluster_not_found,
    reset_details,
    upstream_reset,
)
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead
from isthmus_proxy.http.plan import Plan, Target, moved_plan
from isthmus_proxy.http.replay import ReplayBody
from isthmus_proxy.http.response_plan import ResponsePlan, make_response_plan
from isthmus_proxy.http.retry import Fields, RetryState, admit
from isthmus_proxy.http.retry_hosts import avoiding
from isthmus_proxy.http.shadow import Shadows, start_shadows
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.route.hash_policy import Client, hash_request
from isthmus_proxy.route.model import ClusterWeight, ForwardAction, InternalRedirectPolicy, RetryPolicy
from isthmus_proxy.route.request_groups import Groups
from isthmus_proxy.route.rewrite import apply_response
from isthmus_proxy.route.table import pick, pick_by_number
from isthmus_proxy.upstream.pool import RequestPool, UpstreamRequest

if TYPE_CHECKING:
    from isthmus_proxy.http.connection_manager import HttpConnectionManager
    from isthmus_proxy.http.downstream_connection import DownstreamConnection
    from isthmus_proxy.http.http2_stream import Http2DownstreamStream

Edit = Callable[[Headers], None]
Trailers = tuple[tuple[bytes, bytes], ...]

_NO_TRAIL = Trail()
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
"""Methods that a proxy may repeat on its own when a kept-alive connection turns out dead (RFC 9110, 9.2.2)."""


class Exchange:
    """See the module. ``request_done``: the whole request is here. ``response_started``: its head has been written.

    ``identifier`` is the one given to the request, or its own; ``target`` is where it goes, None if nowhere; ``response``
    is how the response head was made, None for local replies.
    """

    __slots__ = (
        "_after_timeout", "_balancing", "_blamed", "_body", "_body_ended", "_cluster", "_connection", "_duration", "_endpoint",
        "_idle", "_manager", "_per_try", "_pool", "_previous", "_priority", "_retry", "_retry_timer", "_retrying", "_revived",
        "_rivals", "_shadows", "_trail", "_trailers", "_upstream", "_waiting", "ended", "identifier", "info", "request",
        "request_done", "response", "response_started", "target",
    )  # fmt: skip

    def __init__(
        self,
        connection: DownstreamConnection | Http2DownstreamStream,
        manager: HttpConnectionManager,
        request: ParsedRequest,
        *,
        done: bool,
    ) -> None:
        self._connection = connection
        self._manager = manager
        self.request = request
        self.request_done = done
        self.response_started = False
        self.ended = False
        now = manager.reactor.now
        self.info = StreamInfo(now, manager.clock.at(now))
        self.target: Target | None = None
        self._cluster: Cluster | None = None
        self._endpoint: Endpoint | None = None
        self._pool: RequestPool | None = None
        self._priority = 0
        self._upstream: UpstreamRequest | None = None
        self._body_ended = False
        self._trailers: Trailers = ()
        self._waiting = False
        self._retry: RetryState | None = None
        self._per_try: Timer | None = None
        self._retry_timer: Timer | None = None
        self._retrying = False
        self._after_timeout = False
        self._blamed = False
        self._duration: Timer | None = None
        self._idle: Timer | None = None
        self._rivals: Rivals | None = None
        self._shadows: Shadows | None = None
        self._previous: list[Endpoint] | None = None
        self._trail = _NO_TRAIL
        self._revived = False
        self._balancing: Balancing | None = None
        self._body = ReplayBody()
        self.identifier = b""
        self.response: ResponsePlan | None = None

    # ---- the request's way in ----

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
            self._manager.stats.rq_total.value += 1
        if plan.reply is not None:
            count_refusal(plan.reply, self._manager.stats)
            self.reply(plan.reply)
        elif plan.action is None:
            self._answer(plan)
        else:
            self._forward(plan)

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
        self._connection.end_after_response()

    def _answer(self, plan: Plan) -> None:
        """A redirect or a direct response."""
        decision = plan.decision
        reply = local_answer(decision, plan.head, self.info, self._manager.stats) if decision is not None else None
        if decision is None or reply is None:
            return
        self.info.route_name = decision.route.name
        self.info.virtual_host = decision.virtual_host.name
        self._local_reply(reply, lambda headers: apply_response(decision, None, headers, self.info))

    def _forward(self, plan: Plan) -> None:
        action = plan.action
        manager = self._manager
        if action is None or plan.decision is None:
            return
        weight = action.clusters[0]
        if len(action.clusters) > 1:
            weight = self._pick(plan, action)
        target = self.target = plan.target(weight, self.request, manager.styles)
        info = self.info
        info.route_name = plan.decision.route.name
        info.virtual_host = plan.decision.virtual_host.name
        cluster = self._cluster = manager.clusters.get(target.cluster)
        if cluster is None:
            manager.stats.no_cluster.value += 1
            self.reply(cluster_not_found(action.cluster_not_found_status))
            return
        info.upstream_cluster = target.cluster
        if target.groups:
            info.virtual_cluster = target.groups[-1].name
        self._priority = action.priority
        if target.rules is not None:
            self._retry = RetryState(target.rules, plan.head, manager.runtime)
        if target.duration:
            self._duration = manager.reactor.call_later(target.duration, self._max_duration_reached)
        if target.balanced or info.dynamic_metadata is not None:
            self._balancing = Balancing(action, weight, plan.named_head(self.identifier), self._client(plan), info)
        if self.request_done and not target.upgrade:  # a request to switch protocols never ends
            self._start_route_timeout()
        self._attempt()
        if action.mirrors and not self.ended:
            self._mirror(target)

    def _client(self, plan: Plan) -> Client:
        remote = self._connection.remote
        return Client(ip_of(plan.client or remote), remote, self._connection.local)

    def _pick(self, plan: Plan, action: ForwardAction) -> ClusterWeight:
        """One of several clusters: by the request's hash where the route says so and there is one, else by lot."""
        if action.weights_by_hash:
            number, _ = hash_request(action.hash_policies, plan.named_head(self.identifier), self._client(plan))
            if number is not None:
                return pick_by_number(action, number)
        return pick(action, self._manager.random(), self._manager.runtime)

    def _mirror(self, target: Target) -> None:
        action = target.action
        head = target.finish(self.info, self.identifier, 1, action.timeout)
        limit = self._connection.buffer_limit
        self._shadows = start_shadows(
            action.mirrors,
            self._manager,
            head,
            self.info,
            timeout=action.timeout,
            limit=limit,
            done=self.request_done,
            bare=self.request.framing == NO_BODY,
        )

    def _start_route_timeout(self) -> None:
        timeout = self.target.action.timeout if self.target is not None else 0.0
        if timeout:
            self._connection.route_timer.set(self._manager.reactor.now + timeout)

    def request_data(self, data: bytes) -> None:
        """More of the request's body."""
        self.info.bytes_received += len(data)
        target = self.target
        if self.ended or target is None:
            return
        self._pass_body(data)

    def request_end(self, trailers: Trailers = ()) -> None:
        """The request is complete. Its trailers go on over HTTP/2; over HTTP/1.1 only where both sides enable them, as in Envoy."""
        self._trailers = trailers
        self._body_ended = True
        self.request_done = True
        self.info.request_end_at = self._manager.reactor.now
        target = self.target
        if self.ended or target is None:
            return
        if self._upstream is not None:
            self._upstream.send_end(self._trailers_for(self._upstream))
        if self._shadows is not None:
            self._shadows.complete()
        self._start_route_timeout()

    def _pass_body(self, data: bytes) -> None:
        """Send body bytes if there is a connection, and keep them while they may be needed (again)."""
        upstream = self._upstream
        if upstream is not None:
            upstream.send_body(data)
        if self._shadows is not None:
            self._shadows.send(data)
        if self._body.possible and self._body.keep(data) > self._body_limit():
            if upstream is None:
                self._connection.hold_request()
            else:
                self._forget_body()

    def _body_limit(self) -> int:
        """Bytes of the body that may be kept."""
        limit = self.target.action.buffer_limit if self.target is not None else None
        return self._connection.buffer_limit if limit is None else limit

    def _forget_body(self) -> None:
        """Keep the body no longer: from now on the request cannot be sent again."""
        self._body.forget()
        if self._retry is not None and self._cluster is not None:
            self._retry = None
            self._cluster.stats.retry_or_shadow_abandoned.value += 1

    # ---- one attempt ----

    def _attempt(self) -> None:
        cluster, manager = self._cluster, self._manager
        if cluster is None:
            return
        context = None
        if self._previous is not None and self.target is not None:
            context = avoiding(self.target.action.retry_policy, self._previous)
        if self._balancing is not None:
            context = self._balancing.context(context)
        self.info.attempts += 1
        self.info.upstream_transport_failure = ""
        endpoint = cluster.choose(context)
        if endpoint is None:
            self._charge(503)
            self.reply(NO_HEALTHY_UPSTREAM)
            return
        if self.target is not None and self.target.terminates:
            pool: RequestPool | None = manager.pools.once(cluster, endpoint, self._priority)
        else:
            authority = self.target.head.authority if self.target is not None else b""
            pool = manager.pools.of(cluster, endpoint, self._priority, authority)
        self._pool = pool
        self._endpoint = endpoint
        connection = pool.acquire(self) if pool is not None else OVERFLOW
        if connection is None:
            self.info.upstream_host = endpoint.name
            self._waiting = True
        elif isinstance(connection, str):
            self._lost(connection, "", sent=False)
        else:
            self.info.upstream_host = endpoint.name
            self._send(connection)

    def pool_ready(self, connection: UpstreamRequest) -> None:
        """The connection waited for is there."""
        self._waiting = False
        self._send(connection)

    def _send(self, connection: UpstreamRequest) -> None:
        target = self.target
        if target is None:
            return
        self._upstream = connection
        if connection.tls is not None:
            self.info.upstream_tls = connection.tls
        for group in target.groups:
            group.upstream_rq_total.value += 1
        if connection.http2:
            self._send_over_http2(connection, target)
            return
        if target.static and self.info.attempts == 1:
            self.info.request = target.head
            self.info.original_path = target.original_path
            head = target.before + self.identifier + target.after if target.id_index >= 0 else target.before
        else:
            head = target.encode(self._finish_head(target))
        if target.terminates:
            self._response_head(CONNECTED)
            self._switch(())
            return
        spelling = self.request.spelling or connection.spelling
        if spelling is not None:
            head = spelling.respell(head)
        connection.send_head(
            self, self.request.method, head, done=self.request_done, upgrade=target.upgrade, chunked=target.chunked
        )
        self._sent(connection, target)

    def _send_over_http2(self, connection: UpstreamRequest, target: Target) -> None:
        info = self.info
        if target.static and info.attempts == 1:
            info.request = target.head
            info.original_path = target.original_path
            head = target.http2_head(self.identifier)
        else:
            head = target.http2_encode(self._finish_head(target))
        connection.send_head(self, self.request.method, head, done=self.request.framing == NO_BODY)
        self._sent(connection, target)

    def _sent(self, connection: UpstreamRequest, target: Target) -> None:
        """The head is on its way: send what is here of the body."""
        body = self._body
        if body.parts is not None:
            for data in body.parts:
                connection.send_body(data)
            self._connection.release_request()
        if self._body_ended:
            connection.send_end(self._trailers_for(connection))
        if self._retry is None and target.action.internal_redirect is None:
            if not self.request_done or (body.parts is not None and connection.requests <= 1):
                body.forget()
        elif self._retry is not None and target.action.retry_policy is not None:
            self._start_per_try(target.action.retry_policy)

    def _start_per_try(self, policy: RetryPolicy) -> None:
        reactor = self._manager.reactor
        if policy.per_try_timeout:
            self._per_try = reactor.call_later(policy.per_try_timeout, self._per_try_timed_out)
        if policy.per_try_idle_timeout:
            self._idle = reactor.call_later(policy.per_try_idle_timeout, self._per_try_idled)

    def _finish_head(self, target: Target) -> RequestHead:
        """The head of this attempt, made for it alone."""
        timeout = target.action.timeout
        due = self._connection.route_timer.at
        if timeout and self.info.attempts > 1 and due != float("inf"):
            timeout = max(due - self._manager.reactor.now, 0.001)
        hostname = self._endpoint.config.hostname if self._endpoint is not None else ""
        head = target.finish(self.info, self.identifier, self.info.attempts, timeout, hostname)
        if self.info.attempts > 1 and target.decision.virtual_host.include_is_timeout_retry_header:
            head.headers.append((b"x-envoy-is-timeout-retry", b"true" if self._after_timeout else b"false"))
        return head

    def _give_up(self) -> None:
        """Detach from all upstream requests, whatever their state, and stop the timers of the attempt."""
        self._leave_attempt()
        if self._retry_timer is not None:
            self._retry_timer.discard()
            self._retry_timer = None
        if self._rivals is not None:
            self._rivals.drop()

    def _leave_attempt(self) -> None:
        if self._waiting and self._pool is not None:
            self._waiting = False
            self._pool.cancel(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.reset(self)
            self._attempt_over()

    def _attempt_over(self) -> None:
        if self._pool is not None:
            self._pool.finished()
        if self._per_try is not None:
            self._per_try.discard()
            self._per_try = None
        if self._idle is not None:
            self._idle.discard()
            self._idle = None

    # ---- the response's way back ----

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """Relay what came of the response."""
        if self._idle is not None and self.target is not None and self.target.action.retry_policy is not None:
            self._idle.set(self._manager.reactor.now + (self.target.action.retry_policy.per_try_idle_timeout or 0.0))
        switches = self.request.switches
        for event in events:
            if type(event) is bytes:
                self._response_data(event)
            elif type(event) is not ParsedResponse:
                continue
            elif event.status < 200 and event.status != 101:
                self._charge(event.status)
            else:
                if self._retries_response(event, done=done) or self._moves(event, done=done):
                    return
                self._response_head(event)
                if switches and switched(self.request, event):
                    self._switch(events)
                    return
        if done:
            last = events[-1] if events else None
            self._response_done(last.trailers if type(last) is EndOfMessage else ())

    def _retries_response(self, response: ParsedResponse, *, done: bool) -> bool:
        retry = self._retry
        if retry is None or not retry.wants_response(response.status, response.headers):
            return False
        again = self._may_retry(retry)
        if not again and not self._rivals:
            self._charge_response(response)
            return False
        if again and self._cluster is not None:
            charge_retried(self._cluster, self._endpoint, response.status)
        self._judge(response)
        if done:
            self._upstream = None
            self._attempt_over()
        else:
            self._leave_attempt()
        if again:
            self._retry_later(retry, response.headers)
        return True

    def _moves(self, response: ParsedResponse, *, done: bool) -> bool:
        """Follow a redirect in the client's place, if the route's policy has it so."""
        target, cluster = self.target, self._cluster
        policy = target.action.internal_redirect if target is not None else None
        if policy is None or target is None or cluster is None or response.status not in policy.codes:
            return False
        moved = self._followed(policy, target, response)
        if moved is None:
            cluster.stats.upstream_internal_redirect_failed_total.value += 1
            return False
        cluster.stats.upstream_internal_redirect_succeeded_total.value += 1
        if self._retry is not None and self._retry.tried:
            cluster.stats.upstream_rq_retry_success.value += 1
        self._judge(response)
        if done:
            self._upstream = None
            self._attempt_over()
        self._give_up()
        self._move_on(moved, response)
        return True

    def _followed(self, policy: InternalRedirectPolicy, target: Target, response: ParsedResponse) -> Moved | None:
        table = self._manager.table
        if not self.request_done or not self._body.possible or table is None:
            return None
        if not any(name == b"location" for name, _ in response.headers):
            return None
        manager = self._manager
        sent = target.finish(StreamInfo(0.0, 0.0), self.identifier, self.info.attempts, target.action.timeout)
        route = target.decision.route.name
        found = follow(policy, response, sent, route, self._trail, lambda head: table.decide(head, manager.random()))
        if isinstance(found, str):
            stats = manager.stats
            counter: Counter = getattr(stats, f"passthrough_internal_redirect_{found}")
            counter.value += 1
            return None
        return found

    def _move_on(self, moved: Moved, response: ParsedResponse) -> None:
        """End here and begin anew as another exchange, which answers the client."""
        manager, info, table = self._manager, self.info, self._manager.table
        if table is None:
            return
        info.status = response.status
        info.response = ResponseHead(response.status, list(response.headers))
        info.upstream_first_byte_at = manager.reactor.now
        info.response_code_details = "internal_redirect"
        info.route_name = moved.decision.route.name  # where it goes, as Envoy's log says
        info.upstream_cluster = moved.cluster
        info.request = moved.head
        self.ended = True
        self._end_retry()
        if self._duration is not None:
            self._duration.discard()
        manager.record(self, answered=False)
        request = self.request.as_get() if moved.bodyless else self.request
        plan = moved_plan(table, moved.head, moved.decision, upgrade=self.target is not None and self.target.upgrade)
        following = self._connection.serve_instead(request)
        following.info.request_id = info.request_id
        following.info.span = info.span
        following.info.bytes_received = info.bytes_received * (1 if moved.bodyless else 2)  # and once more, as replayed
        following._trail = moved.trail
        if not moved.bodyless:
            following._body = self._body
            following._body_ended, following._trailers = self._body_ended, self._trailers
        following.begin(plan, self.identifier)

    def _response_head(self, response: ParsedResponse) -> None:
        manager, info, target = self._manager, self.info, self.target
        if target is None:
            return
        now = manager.reactor.now
        info.upstream_first_byte_at = now
        info.status = response.status
        plan = response.plan
        if (
            plan is None
            or type(plan) is not self._connection.plan_type
            or plan.style is not target.style
            or plan.manager is not manager.config
            or not self.request.plain
            or (self._balancing is not None and self._balancing.set_cookies)
        ):
            plan = self._plan_response(response, target)
        else:
            plan.head.repeated = True
        info.response = plan.head
        self.response = plan
        self.response_started = True
        if self._rivals:
            self._rivals.drop()
        took = now - (info.request_end_at or now)
        head = plan.encode(int(took * 1000.0), manager.clock.date(now))
        if plan.identified:
            head = plan.identify(head, self.identifier)
        self._connection.write_head(head, response.spelling)
        if self._retry is None:
            self._charge_response(response)
        elif not self._retry.wants_response(response.status, response.headers):
            self._charge_response(response)
            if self._retry.tried and self._cluster is not None:
                self._cluster.stats.upstream_rq_retry_success.value += 1
                for group in target.groups:
                    group.upstream_rq_retry_success.value += 1

    def _plan_response(self, response: ParsedResponse, target: Target) -> ResponsePlan:
        request, connection = self.request, self._connection
        if request.version == b"HTTP/1.0" and response.framing in (CHUNKED, UNTIL_CLOSE):
            connection.closing = True
        if request.switches and not switched(request, response):
            connection.closing = True  # what the client sends on is no request, and must not be read as one
        keep_alive = not (connection.closing or self._manager.draining)
        cookies = self._balancing.set_cookies if self._balancing is not None else ()
        plan = make_response_plan(
            response,
            self._manager.config,
            target.style,
            self.info,
            request,
            keep_alive=keep_alive,
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

    def _charge_response(self, response: ParsedResponse) -> None:
        if self._cluster is not None:
            charge(self._cluster, self._endpoint, response.status, self._groups)
        self._judge(response)

    def _judge(self, response: ParsedResponse) -> None:
        """Tell outlier detection of a response, unless it was told already that this attempt took too long."""
        endpoint = self._endpoint
        if endpoint is not None and endpoint.monitor is not None and not self._blamed:
            endpoint.monitor.responded(outcome(response))

    @property
    def _groups(self) -> Groups:
        return self.target.groups if self.target is not None else ()

    def _charge(self, status: int) -> None:
        """Count a failure that ``status`` stands for."""
        if self._cluster is not None:
            charge(self._cluster, self._endpoint, status, self._groups)

    def _blame(self, status: int) -> None:
        """Tell outlier detection that the endpoint left a request without an answer."""
        if self._endpoint is not None and self._endpoint.monitor is not None:
            self._endpoint.monitor.failed(status)

    def _response_data(self, data: bytes) -> None:
        self.info.bytes_sent += len(data)
        plan = self.response
        self._connection.write(chunk(data) if plan is not None and plan.chunked else data)

    def _trailers_pass(self, upstream: UpstreamRequest | None) -> bool:
        """Whether both sides carry trailers: HTTP/2 does, HTTP/1.1 where enable_trailers is set."""
        return (
            upstream is not None
            and self._cluster is not None
            and (upstream.http2 or self._cluster.config.enable_trailers)
            and (self._connection.http2 or self._manager.config.enable_trailers)
        )

    def _trailers_for(self, upstream: UpstreamRequest) -> Trailers:
        """The request's trailers as far as ``upstream`` may have them."""
        return self._trailers if self._trailers and self._trailers_pass(upstream) else ()

    def _response_done(self, trailers: Trailers = ()) -> None:
        plan = self.response
        if trailers and self._upstream is not None and not self._trailers_pass(self._upstream):
            trailers = ()  # without an upstream they have waited for filters, and may pass
        self._upstream = None
        self._attempt_over()
        if plan is not None and plan.chunked:
            self._connection.write(last_chunk(trailers) if trailers else LAST_CHUNK)
        elif trailers:
            self._connection.response_trailers(trailers)
        info = self.info
        now = self._manager.reactor.now
        if self._cluster is not None:
            took = (now - (info.request_end_at or info.started_at)) * 1000.0
            self._cluster.stats.upstream_rq_time.record(took)
            for group in self._groups:
                group.upstream_rq_time.record(took)
        info.response_code_details = "via_upstream"
        if not self.request_done:
            self._manager.stats.answered_early()
        self.finish()

    def _switch(self, events: Sequence[Event]) -> None:
        """The upstream switched protocols: from here on bytes go both ways as they are."""
        upstream, self._upstream = self._upstream, None
        connection = upstream.take_over() if upstream is not None else None
        self._attempt_over()
        self.info.response_code_details = "via_upstream"
        if connection is not None:
            early = b"".join([event for event in events if isinstance(event, bytes)])
            self._connection.tunnel(self, connection, early)

    def tunnel_idle(self) -> None:
        """Nothing passed through the tunnel for too long."""
        self.info.flag("SI")
        self.info.response_code_details = STREAM_IDLE.details

    # ---- failures ----

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The upstream request is lost."""
        if self._waiting:
            self._waiting = False
        else:
            self._upstream = None
            self._attempt_over()
        if self.response_started:
            self._blame(503)
            details = f"upstream_reset_after_response_started{{{reset_details(reason, transport)}}}"
            self._cut_off(RESET_FLAGS[reason], details)
        elif reused and not self._revived and self._body.possible and (not sent or self.request.method in _IDEMPOTENT):
            # The endpoint closed a kept-alive connection just as it was used: not a failure of this request.
            self._revived = True
            self.info.attempts -= 1
            self._attempt()
        else:
            self._lost(reason, transport, sent=sent)

    def _lost(self, reason: str, transport: str, *, sent: bool) -> None:
        self.info.upstream_transport_failure = transport
        retry = self._retry
        reply = upstream_reset(reason, transport, retried=retry is not None and retry.tried > 0)
        if reason != OVERFLOW:
            self._blame(503)
        if retry is not None and retry.wants_reset(reason, sent=sent) and self._may_retry(retry):
            self._retry_later(retry)
        elif not self._rivals:
            self._charge(reply.status)
            self.reply(reply)

    def _may_retry(self, retry: RetryState) -> bool:
        """Take one retry if policy, body and circuit breaker allow it, else say why not."""
        self._end_retry()
        cluster = self._cluster
        if cluster is not None and self._body.possible:
            manager = self._manager
            breaker = cluster.breakers[self._priority]
            self._retrying = admit(retry, cluster, breaker, self.info, manager.runtime, manager.random(), self._groups)
        return self._retrying

    def _end_retry(self) -> None:
        if self._retrying and self._cluster is not None:
            self._retrying = False
            self._cluster.breakers[self._priority].active_retries -= 1

    def _retry_later(self, retry: RetryState, headers: Fields = (), *, after_timeout: bool = False) -> None:
        """Try again after the back-off, or when the response's ``headers`` ask for it."""
        if self._endpoint is not None:
            self._previous = [*(self._previous or ()), self._endpoint]
        self._after_timeout = after_timeout
        manager = self._manager
        reactor, stats = manager.reactor, self._cluster.stats if self._cluster is not None else None
        delay = retry.asked_to_wait(headers, manager.clock.at(reactor.now), manager.random()) if headers else None
        if stats is not None:
            limited = delay is not None
            (
                stats.upstream_rq_retry_backoff_ratelimited if limited else stats.upstream_rq_retry_backoff_exponential
            ).value += 1
        if delay is None:
            delay = retry.back_off(manager.random())
        self._retry_timer = reactor.call_later(delay, self._retry_now)

    def _retry_now(self) -> None:
        self._retry_timer = None
        self._attempt()

    def _per_try_timed_out(self) -> None:
        self._per_try = None
        if self.response_started or self._cluster is None:
            return
        if self.target is not None and self.target.action.hedge_on_per_try_timeout:
            self._hedge()
        else:
            self._cluster.stats.upstream_rq_per_try_timeout.value += 1
            self._try_timed_out(PER_TRY_TIMEOUT)

    def _per_try_idled(self) -> None:
        self._idle = None
        if self._cluster is None:
            return
        self._cluster.stats.upstream_rq_per_try_idle_timeout.value += 1
        if self.response_started:
            self._give_up()
            self._cut_off("UT", PER_TRY_IDLE_TIMEOUT.details)
        else:
            self._try_timed_out(PER_TRY_IDLE_TIMEOUT)

    def _try_timed_out(self, reply: LocalReply) -> None:
        retry = self._retry
        self._leave_attempt()
        self._blame(504)
        if retry is not None and retry.wants_timeout() and self._may_retry(retry):
            self._retry_later(retry, after_timeout=True)
        elif not self._rivals:
            self._charge(504)
            self.reply(reply)

    # ---- hedging ----

    def _hedge(self) -> None:
        """Leave the attempt that takes too long running, and begin another beside it."""
        retry, upstream = self._retry, self._upstream
        self._blame(504)
        if retry is None or upstream is None or not self.request_done or not self._may_retry(retry):
            return
        if self._rivals is None:
            self._rivals = Rivals(self._rival_answered, self._rival_lost)
        self._rivals.add(upstream, self._pool, self._endpoint)
        self._upstream = None
        self._pool = None
        if self._idle is not None:
            self._idle.discard()
            self._idle = None
        self._retry_later(retry, after_timeout=True)

    @property
    def _under_way(self) -> bool:
        return self._upstream is not None or self._waiting or self._retry_timer is not None or bool(self._rivals)

    def _rival_answered(self, rival: Rival, events: Sequence[Event], done: bool) -> None:
        """A rival has a response: it wins, unless that is one to retry and there is still hope for another."""
        head = next((event for event in events if isinstance(event, ParsedResponse)), None)
        bad = head is not None and self._retry is not None and self._retry.wants_response(head.status, head.headers)
        if bad and self._under_way:
            rival.drop()
            return
        self._give_up()
        self._adopt(rival)
        self._upstream = rival.connection
        if not done:
            rival.connection.sink = self
        self._retry = None
        self._blamed = True
        self.upstream_events(events, done)

    def _rival_lost(self, rival: Rival, reason: str, transport: str) -> None:
        if self._under_way:
            if rival.pool is not None:
                rival.pool.finished()
            return
        self._adopt(rival)
        self._retry = None
        self.upstream_reset(reason, transport, sent=True, reused=False)

    def _adopt(self, rival: Rival) -> None:
        self._pool, self._endpoint = rival.pool, rival.endpoint
        self.info.upstream_host = rival.endpoint.name if rival.endpoint is not None else ""

    # ---- time-outs of the whole ----

    def _max_duration_reached(self) -> None:
        """The stream has lasted as long as its route allows."""
        self._duration = None
        self._manager.stats.downstream_rq_max_duration_reached.value += 1
        self.stalled(MAX_DURATION if self.request_done else MAX_DURATION_INCOMPLETE, "")

    def route_timed_out(self) -> None:
        """The response did not come within the route's timeout."""
        asked = self._upstream is not None
        self._give_up()
        if self._cluster is not None:
            self._cluster.stats.upstream_rq_timeout.value += 1
        for group in self._groups:
            group.upstream_rq_timeout.value += 1
        if self._endpoint is not None:
            self._endpoint.rq_timeout += 1
        if self.response_started:
            self._cut_off("UT", "response_timeout")
        else:
            status = self.target.action.timeout_status if self.target is not None else 504
            self._charge(status)
            if asked:
                self._blame(504)
            self.reply(ROUTE_TIMEOUT if status == 504 else ALTERNATIVE_TIMEOUT)

    def stalled(self, reply: LocalReply, flag: str = "SI") -> None:
        """Nothing moved for too long, or the request's body is malformed: ``reply`` unless a response has begun."""
        self._give_up()
        if self.response_started:
            self._cut_off(flag, reply.details)
        else:
            self.reply(reply)

    def _cut_off(self, flag: str, details: str) -> None:
        """The response cannot be completed: only breaking the connection tells the client so. No ``flag`` if empty."""
        if flag:
            self.info.flag(flag)
        self.info.response_code_details = details
        self._manager.stats.downstream_rq_rx_reset.value += 1  # both, as in Envoy
        self._manager.stats.downstream_rq_tx_reset.value += 1
        self._connection.closing = True
        self.finish()
        self._connection.cut()

    def cancel(self, flag: str = "DC", details: str = "downstream_remote_disconnect") -> None:
        """The client is gone, or has given the request up."""
        self._give_up()
        self.info.flag(flag)
        self.info.response_code_details = details
        self._manager.stats.downstream_rq_rx_reset.value += 1
        self.finish()

    def reply(self, reply: LocalReply) -> None:
        """Answer in place of an upstream."""
        self._give_up()
        target = self.target
        edited = target is not None and (
            target.decision.response_edits
            or target.weight.response_headers
            or target.decision.virtual_host.include_attempt_count_in_response
        )
        self._local_reply(reply, self._edit_reply if edited else None)

    def _local_reply(self, reply: LocalReply, edit: Edit | None) -> None:
        self._connection.local_reply(self, reply, edit)

    def _edit_reply(self, headers: Headers) -> None:
        """What the route does to a reply in place of its upstream's."""
        target = self.target
        if target is None:
            return
        apply_response(target.decision, target.weight, headers, self.info)
        if target.decision.virtual_host.include_attempt_count_in_response and self.info.attempts:
            headers.append((b"x-envoy-attempt-count", b"%d" % self.info.attempts))

    def replied(self, details: str, flags: tuple[str, ...]) -> None:
        """The local reply has been written."""
        for flag in flags:
            self.info.flag(flag)
        self.info.response_code_details = details
        self.response_started = True
        if not self.request_done:
            self._manager.stats.answered_early()
        self.finish()

    # ---- back-pressure ----

    def upstream_blocked(self) -> None:
        """The endpoint reads too slowly: take no more from the client."""
        self._connection.hold_request()

    def upstream_writable(self) -> None:
        """The endpoint has caught up."""
        self._connection.release_request()

    def downstream_blocked(self) -> None:
        """The client reads too slowly: take no more from the endpoint."""
        if self._upstream is not None:
            self._upstream.pause()

    def downstream_writable(self) -> None:
        """The client has caught up."""
        if self._upstream is not None:
            self._upstream.resume()

    # ---- the end ----

    def finish(self) -> None:
        """End the exchange: once, whatever ended it."""
        if self.ended:
            return
        self.ended = True
        self._end_retry()
        if self._duration is not None:
            self._duration.discard()
        if self._shadows is not None and not self.request_done:
            self._shadows.drop()
        self._manager.record(self)
        self._connection.exchange_finished(self)


def switched(request: ParsedRequest, response: ParsedResponse) -> bool:
    """Whether ``response`` grants what ``request`` asked for: from here on the connection carries something else."""
    return response.status == 101 or (request.method == b"CONNECT" and 200 <= response.status < 300)
