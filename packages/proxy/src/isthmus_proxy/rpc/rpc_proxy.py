"""The RPC proxy: the terminal network filter for protocols of remote calls, with the routes and clusters that HTTP has.

A request's service is its authority, its method the path, its headers are headers; so virtual hosts, routes, header matchers,
weighted clusters, timeouts and retry policies mean what they mean for HTTP.
"""

from __future__ import annotations

from isthmus_proxy.codec.rpc import Frame, RpcCodec, RpcRequest, Unreadable
from isthmus_proxy.http.connection_manager import AccessLog, Surroundings
from isthmus_proxy.http.plan import has_fractions
from isthmus_proxy.http.stream_info import ConnectionEnded, StreamInfo
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import RpcProxyConfig
from isthmus_proxy.route.table import RouteHandle, RouteTable
from isthmus_proxy.rpc.burst import Burst
from isthmus_proxy.rpc.call_log import answered_info, call_info
from isthmus_proxy.rpc.downstream_connection import RpcDownstreamConnection
from isthmus_proxy.rpc.outcomes import REFUSED_BY_LIMIT, UNAVAILABLE, Outcomes
from isthmus_proxy.rpc.plan import RpcPlan, names_of, request_head
from isthmus_proxy.rpc.plan_memo import PlanMemo
from isthmus_proxy.rpc.pool import RpcPool
from isthmus_proxy.rpc.router import OVERFLOW, RpcRouter
from isthmus_proxy.rpc.stats import RpcStats
from isthmus_proxy.rpc.upstream_connection import Pending, RpcUpstreamConnection

_UNREADABLE = 422
_FLAGS = {"cluster_not_found": "NC", "no_healthy_upstream": "UH", "overflow": "UO"}


class RpcProxy:
    """See the module. ``logs``: somebody wants to know of each request. ``closing``: its connections are being closed.

    ``first_id`` precedes the first identifier of a new upstream connection.
    """

    __slots__ = (
        "_handle", "_loggers", "_on_close", "_outcomes", "_random", "buffer_limit", "clock", "closing", "codec", "config", "connections",
        "draining", "first_id", "limits", "logs", "memo", "reactor", "router", "stats", "transports",
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
        self.logs = bool(loggers)
        self.memo = PlanMemo(codec, self._plan)
        self.router = RpcRouter(self, surroundings)
        self._outcomes = Outcomes(self, surroundings)
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
            names = names_of(table) if table is not None else frozenset()
            memo.use(table, names, memoise=table is not None and not has_fractions(table))
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
        return RpcPlan(head, decision, stats or self.stats.method(b"", b""), logged=self.logs)

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

    def send_alone(self, burst: Burst, original: int, frame: bytes) -> None:
        """Send one request as it is the burst's only one."""
        if burst.upstream.pool.room(burst.upstream) < 1:
            burst.upstream.pool.overflowed()
            self._refused(burst.downstream, burst.plan, original, burst.form, frame, REFUSED_BY_LIMIT, OVERFLOW, "UO")
            return
        self._outcomes.send_alone(burst, original, frame, frame if burst.plan.retains else None)

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

    def one_way(self, downstream: RpcDownstreamConnection, data: bytes, frame: Frame, plan: RpcPlan) -> None:
        """Send a request that nobody waits for: it is never tried again, and nobody is told when it fails."""
        self.stats.one_way.value += 1
        burst = self.begin(downstream, plan, frame[7], frame[8], None)
        if burst is None or burst.upstream.pool.room(burst.upstream) < 1:
            if burst is not None:
                burst.upstream.pool.overflowed()
            plan.stats.local.value += 1
            return
        upstream = burst.upstream
        cluster = upstream.pool.cluster
        upstream.send(self.codec.set_id(self.edited(plan, data, cluster.name), upstream.next_id()))
        cluster.stats.upstream_rq_total.value += 1
        upstream.pool.endpoint.rq_total += 1
        plan.stats.total.value += 1
        if self.logs:
            self.write_log(answered_info(self, burst, data, 0, 0))

    # ---- answers made here ----

    def refuse(self, downstream: RpcDownstreamConnection, plan: RpcPlan, frame: Frame) -> None:
        """Answer a request that goes nowhere, for the reason that the plan or the router gives."""
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
        self._refused(downstream, plan, frame[3], frame[8], None, status, details, flag)

    def overflow(self, downstream: RpcDownstreamConnection, plan: RpcPlan, frame: Frame, pool: RpcPool) -> None:
        """Answer a request that the circuit breaker of ``pool`` does not let through."""
        pool.overflowed()
        self._refused(downstream, plan, frame[3], frame[8], None, REFUSED_BY_LIMIT, OVERFLOW, "UO")

    def _refused(
        self,
        downstream: RpcDownstreamConnection,
        plan: RpcPlan,
        identifier: int,
        form: int,
        frame: bytes | None,
        status: int,
        details: str,
        flag: str,
    ) -> None:
        plan.stats.total.value += 1
        plan.stats.local.value += 1
        if self.logs:
            info = call_info(self, downstream, plan, frame, self.reactor.now)
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
        if burst.call is not None:
            burst.call.over()
            pool.cluster.stats.upstream_rq_retry_success.value += 1
        self.ended(burst, count)

    def ended(self, burst: Burst, count: int) -> None:
        """``count`` requests of ``burst`` have an answer."""
        stats = self.stats
        stats.rq_active.value -= count
        started = burst.started if burst.call is None else burst.call.started
        stats.rq_time.record((self.reactor.now - started) * 1000.0, count)

    def responded(self, upstream: RpcUpstreamConnection, entry: Pending, status: int, response: bytes) -> None:
        """See Outcomes."""
        self._outcomes.responded(upstream, entry, status, response)

    def lost(self, upstream: RpcUpstreamConnection, entry: Pending, reason: str, *, sent: bool) -> None:
        """See Outcomes."""
        self._outcomes.lost(upstream, entry, reason, sent=sent)

    def timed_out(self, upstream: RpcUpstreamConnection, entry: Pending) -> None:
        """See Outcomes."""
        self._outcomes.timed_out(upstream, entry)

    def log(self, entry: Pending, status: int, size: int) -> None:
        """Log a request that was answered without error."""
        self.write_log(answered_info(self, entry[0], entry[2], status, size))

    def write_log(self, info: StreamInfo) -> None:
        """Tell all access logs."""
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
