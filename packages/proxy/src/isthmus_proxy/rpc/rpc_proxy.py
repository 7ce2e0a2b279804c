"""The RPC proxy: the terminal network filter for protocols of remote calls, with the routes and clusters that HTTP has.

A request's service is its authority, its method the path, its headers are headers; so virtual hosts, routes, header matchers,
weighted clusters, timeouts and retry policies mean what they mean for HTTP.
"""

from __future__ import annotations

from isthmus_proxy.codec.rpc import Frame, RpcCodec, RpcRequest, Unreadable
from isthmus_proxy.http.http_filter_chain import HttpFilterChain
from isthmus_proxy.http.plan import has_fractions
from isthmus_proxy.http.stream_info import ConnectionEnded, StreamInfo
from isthmus_proxy.http.surroundings import AccessLog, Surroundings, Tracer
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import RpcProxyConfig
from isthmus_proxy.route.table import RouteHandle, RouteTable
from isthmus_proxy.rpc.burst import Burst
from isthmus_proxy.rpc.call_log import answered_info, call_info
from isthmus_proxy.rpc.downstream_connection import RpcDownstreamConnection
from isthmus_proxy.rpc.outcomes import REFUSED_BY_LIMIT, UNAVAILABLE, Outcomes
from isthmus_proxy.rpc.plan import RpcPlan, asked_timeout, names_of, request_head
from isthmus_proxy.rpc.plan_memo import PlanMemo
from isthmus_proxy.rpc.pool import RpcPool
from isthmus_proxy.rpc.requester import RpcRequester
from isthmus_proxy.rpc.router import OVERFLOW, RpcRouter
from isthmus_proxy.rpc.singles import Singles
from isthmus_proxy.rpc.stats import RpcStats
from isthmus_proxy.rpc.upstream_connection import Pending, RpcUpstreamConnection

_UNREADABLE = 422
_FLAGS = {"cluster_not_found": "NC", "no_healthy_upstream": "UH", "overflow": "UO"}


class RpcProxy:
    """See the module. ``logs``: somebody wants to know of each request. ``closing``: its connections are being closed.

    ``first_id`` precedes the first identifier of a new upstream connection. ``nobody`` asks for copies of requests, which have the
    plan ``copies``.
    """

    __slots__ = (
        "_handle", "_loggers", "_on_close", "_random", "_tracer", "buffer_limit", "clock", "closing", "codec", "config", "connections",
        "copies", "draining", "first_id", "limits", "logs", "memo", "nobody", "outcomes", "reactor", "router", "singles", "stats",
        "transports",
    )  # fmt: skip

    def __init__(
        self,
        config: RpcProxyConfig,
        codec: RpcCodec,
        surroundings: Surroundings,
        route: RouteHandle,
        stats: RpcStats,
        loggers: tuple[AccessLog, ...],
        buffer_limit: int,
        on_close: ConnectionEnded,
        filters: HttpFilterChain | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.codec = codec
        self.reactor = surroundings.reactor
        self.clock = surroundings.clock
        self.transports = surroundings.pools.transports
        self.stats = stats
        self.buffer_limit = buffer_limit
        self.connections: set[RpcDownstreamConnection] = set()
        self.draining = False
        self.closing = False
        self.first_id = 0
        self.logs = bool(loggers) or tracer is not None
        self.nobody = RpcRequester("", "", 0)
        self.copies = RpcPlan(request_head(RpcRequest(b"", b"", [])), None, stats.mirrored, logged=False)
        self.memo = PlanMemo(codec, self._plan)
        self.router = RpcRouter(self, surroundings)
        self.outcomes = Outcomes(self, surroundings)
        self.singles = Singles(self, surroundings, filters, tracer)
        self._tracer = tracer
        self._random = surroundings.random
        self._handle = route
        self._loggers = loggers
        self._on_close = on_close

    @property
    def table(self) -> RouteTable | None:
        """The route table in use; None while there is none."""
        return self._handle.table

    def accept(self, accepted: AcceptedSocket) -> None:
        """Serve a new connection."""
        remote, local = str(accepted.remote), str(accepted.local)
        connection = RpcDownstreamConnection(self, accepted, remote, local, accepted.connection_id)
        self.connections.add(connection)
        self.stats.cx_total.value += 1
        self.stats.cx_active.value += 1
        connection.start()

    # ---- plans ----

    def plans(self) -> dict[bytes, RpcPlan]:
        """Plans by routing key, of the routes in use now; ``memo`` knows the others."""
        memo, table = self.memo, self._handle.table
        if table is not memo.table:
            names = names_of(table, self.config.timeout_header) if table is not None else frozenset()
            memoise = table is not None and self.config.route_cache and not has_fractions(table)
            memo.use(table, names, memoise=memoise)
        return memo.exact

    def _plan(self, data: bytes, frame: Frame, table: RouteTable | None) -> RpcPlan:
        """Work out what becomes of a request."""
        self.stats.memo_slow.value += 1
        try:
            request = self.codec.read(data, frame)
        except Unreadable:
            plan = RpcPlan(request_head(RpcRequest(b"", b"", [])), None, self.stats.method(b"", b""), logged=self.logs)
            plan.reply = _UNREADABLE
            return plan
        head = request_head(request)
        decision = table.decide(head, self._random()) if table is not None else None
        stats = self.stats.method(request.service, request.method) if decision is not None else None
        plan = RpcPlan(head, decision, stats or self.stats.method(b"", b""), logged=self.logs)
        clusters = plan.action.clusters if plan.action is not None else ()
        plan.apart = plan.apart or self.singles.concerns(decision, clusters)
        if self.config.timeout_header:
            plan.timeout = asked_timeout(head, self.config.timeout_header) or plan.timeout
        return plan

    def choose(self, plan: RpcPlan, downstream: RpcDownstreamConnection, form: int) -> RpcUpstreamConnection | None:
        """The connection for one request of ``plan``."""
        return self.router.choose(plan, downstream, form)

    def begin(
        self,
        downstream: RpcDownstreamConnection,
        plan: RpcPlan,
        extra: int,
        form: int,
        upstream: RpcUpstreamConnection | None,
    ) -> Burst | None:
        """A burst for requests of ``plan``; None if they are refused."""
        downstream.form = form
        if plan.reply:
            return None
        return self.router.begin(plan, downstream, extra, form, upstream)

    def edited(self, plan: RpcPlan, frame: bytes, cluster: str) -> bytes:
        """``frame`` with the headers that the route gives it on the way to ``cluster``."""
        if not plan.edited:
            return frame
        frames, _, _ = self.codec.split(frame, len(frame))
        headers = self.codec.read(frame, frames[0]).headers
        now = self.reactor.now
        info = StreamInfo(now, self.clock.at(now))
        info.request = plan.head
        info.upstream_cluster = cluster
        plan.edit(cluster, headers, info)
        try:
            return self.codec.with_headers(frame, headers)
        except Unreadable:
            self.stats.edit_failed.value += 1
            return frame

    # ---- answers made here ----

    def refuse(self, downstream: RpcDownstreamConnection, plan: RpcPlan, frame: Frame) -> None:
        """Answer a request that goes nowhere."""
        status, details, flag = self.refusal(plan)
        self.refused(downstream, plan, frame[3], frame[8], None, status, details, flag)

    def refusal(self, plan: RpcPlan) -> tuple[int, str, str]:
        """(status, details, flag) of a request that goes nowhere, for the reason that the plan or the router gives."""
        status, details, flag = plan.reply, "route_not_found", "NR"
        if plan.reply == _UNREADABLE:
            details, flag = "unreadable_request", "DPE"
        elif plan.reply and plan.decision is not None:
            details, flag = "direct_response", ""
        elif plan.reply:
            self.stats.no_route.value += 1
        else:
            details = self.router.failure
            status, flag = REFUSED_BY_LIMIT if details == OVERFLOW else UNAVAILABLE, _FLAGS.get(details, "")
        return status, details, flag

    def overflow(self, burst: Burst, frame: Frame) -> None:
        """Answer a request that a circuit breaker does not let through to the connection of ``burst``."""
        burst.upstream.pool.overflowed(burst.upstream)
        self.refused(burst.downstream, burst.plan, frame[3], frame[8], None, REFUSED_BY_LIMIT, OVERFLOW, "UO")

    def refused(
        self,
        downstream: RpcRequester,
        plan: RpcPlan,
        identifier: int,
        form: int,
        frame: bytes | None,
        status: int,
        details: str,
        flag: str,
        info: StreamInfo | None = None,
    ) -> None:
        """Answer a request here with what stands for the HTTP status ``status``; ``info`` is what is known of it."""
        plan.stats.total.value += 1
        plan.stats.local.value += 1
        if self.logs:
            if info is None:
                info = call_info(self, downstream, plan, frame, self.reactor.now)
            info.ended_at = self.reactor.now
            info.status = status
            info.response_code_details = details
            if flag:
                info.flag(flag)
            self.write_log(info)
        self.stats.rq_active.value -= 1
        downstream.answer(self.codec.error(identifier, form, status, details), 1)

    # ---- what connections tell ----

    def received(self, count: int) -> None:
        """``count`` requests came in."""
        self.stats.rq_total.value += count
        self.stats.rq_active.value += count

    def completed(self, burst: Burst, count: int) -> None:
        """``count`` requests of ``burst`` were answered without error."""
        burst.plan.stats.success.value += count
        pool = burst.upstream.pool
        if pool.endpoint.monitor is not None:
            for _ in range(count):
                pool.judged(200, answered=True)
        if burst.call is not None and burst.call.attempts > 1:
            pool.cluster.stats.upstream_rq_retry_success.value += 1
        self.ended(burst, count)

    def ended(self, burst: Burst, count: int) -> None:
        """``count`` requests of ``burst`` have an answer."""
        if burst.downstream is self.nobody:
            return
        stats = self.stats
        stats.rq_active.value -= count
        started = burst.started
        if burst.call is not None:
            started = burst.call.started
            burst.call.finished()
        stats.rq_time.record((self.reactor.now - started) * 1000.0, count)

    def responded(self, upstream: RpcUpstreamConnection, entry: Pending, status: int, response: bytes) -> None:
        """See Outcomes."""
        self.outcomes.responded(upstream, entry, status, response)

    def lost(self, upstream: RpcUpstreamConnection, entry: Pending, reason: str, *, sent: bool) -> None:
        """See Outcomes."""
        self.outcomes.lost(upstream, entry, reason, sent=sent)

    def timed_out(self, upstream: RpcUpstreamConnection, entry: Pending) -> None:
        """See Outcomes."""
        self.outcomes.timed_out(upstream, entry)

    def log(self, entry: Pending, status: int, size: int) -> None:
        """Log a request that was answered without error."""
        if entry[0].downstream is not self.nobody:
            self.write_log(answered_info(self, entry[0], entry[2], status, size))

    def write_log(self, info: StreamInfo) -> None:
        """Tell all access logs, and the tracer."""
        if self._tracer is not None:
            self._tracer.log(info)
        for logger in self._loggers:
            logger.log(info)

    def finished(self, connection: RpcDownstreamConnection) -> None:
        """A client connection is over."""
        self.connections.discard(connection)
        self.stats.cx_active.value -= 1
        self._on_close(self.reactor.now - connection.opened_at, connection.describe)
        if self.draining and not self.connections:
            self.router.retire()

    def forget(self, pool: RpcPool) -> None:
        """The endpoint of ``pool`` is gone, and so are its connections."""
        self.router.forget(pool)

    def drain(self) -> None:
        """Ask clients to send no more requests, if the protocol can."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()
        if not self.connections:
            self.router.retire()

    def close(self) -> None:
        """Close every connection at once."""
        self.closing = True
        for connection in list(self.connections):
            connection.close()
        self.router.close()
