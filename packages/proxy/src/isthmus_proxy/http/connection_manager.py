"""The HTTP connection manager: what all connections of one filter chain share (Envoy's http_connection_manager)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.codec.http1.limits import HeadLimits
from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.spelling import PROPER, PROPER_CASE
from isthmus_proxy.codec.http2.header_block import BlockMemo
from isthmus_proxy.codec.http2.stats import Http2Stats
from isthmus_proxy.http.client_address import Vantage
from isthmus_proxy.http.downstream_connection import DownstreamConnection
from isthmus_proxy.http.exchange import Exchange
from isthmus_proxy.http.forwarded import X_REQUEST_ID
from isthmus_proxy.http.http_filter_chain import HttpFilterChain
from isthmus_proxy.http.local_address import announced
from isthmus_proxy.http.local_reply import OVERLOADED
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.plan import Plan, has_fractions, make_plan
from isthmus_proxy.http.request_id import request_id
from isthmus_proxy.http.response_plan import Styles
from isthmus_proxy.http.stats import HttpStats
from isthmus_proxy.http.stream_info import ConnectionEnded, StreamInfo
from isthmus_proxy.http.surroundings import AccessLog, Surroundings, Tracer
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import HttpConnectionManagerConfig
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.overload.model import AT_EASE, OverloadState
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.route.memo import Memo
from isthmus_proxy.route.table import RouteHandle, RouteTable

PLAN_LIMIT = 4096
"""Plans kept where they differ from client to client (use_remote_address), by head and client."""
if TYPE_CHECKING:
    from isthmus_proxy.http.http2_downstream import Http2DownstreamConnection
    from isthmus_proxy.http.http2_stream import Http2DownstreamStream
    from isthmus_proxy.route.scopes import ScopedRoutes
    from isthmus_proxy.tls.info import TlsInfo

IDLE_GRACE_S = 1.0
"""How long a draining manager waits for one more request on an idle connection, in seconds."""


_NOWHERE = Vantage(b"", 0, b"")
_SECURE_NOWHERE = Vantage(b"", 0, b"", b"https")


class ExchangeMaker(Protocol):
    """``Exchange``, or ``FilteredExchange`` where there are filters."""

    def __call__(
        self,
        connection: DownstreamConnection | Http2DownstreamStream,
        manager: HttpConnectionManager,
        request: ParsedRequest,
        *,
        done: bool,
    ) -> Exchange:
        """A new exchange."""


def _filtered_exchange() -> ExchangeMaker:
    from isthmus_proxy.http.filtered_exchange import FilteredExchange  # noqa: PLC0415 - loaded where there are filters

    return FilteredExchange


class HttpConnectionManager:
    """One configured connection manager. It never changes; an update of its listener makes another one."""

    __slots__ = (
        "_http2_scope", "_http2_stats", "_loggers", "_make_exchange", "_memoise_for", "_overload", "_plan_and_begin", "_plans",
        "_plans_kept", "_route", "_scopes", "_tracer", "_vantages", "begin", "buffer_limit", "clock", "clusters", "config", "connections",
        "draining", "filters", "getrandbits", "http2_memo", "limits", "memo",
        "on_close", "pools", "random", "reactor", "runtime", "secure", "spelling", "stats", "styles",
    )  # fmt: skip

    def __init__(
        self,
        config: HttpConnectionManagerConfig,
        surroundings: Surroundings,
        route: RouteHandle,
        stats: HttpStats,
        loggers: tuple[AccessLog, ...],
        buffer_limit: int,
        on_close: ConnectionEnded,
        http2_scope: StatsScope,
        tracer: Tracer | None = None,
        filters: HttpFilterChain | None = None,
    ) -> None:
        self.on_close = on_close
        self.filters = filters
        self._make_exchange: ExchangeMaker = Exchange if filters is None else _filtered_exchange()
        self.http2_memo = BlockMemo()
        self._http2_scope = http2_scope
        self._http2_stats: Http2Stats | None = None
        self.config = config
        self.reactor = surroundings.reactor
        self.clusters = surroundings.clusters
        self.runtime = surroundings.runtime
        self.pools = surroundings.pools
        self.clock = surroundings.clock
        self.random: Callable[[], float] = surroundings.random
        self.getrandbits = surroundings.getrandbits
        self.stats = stats
        self.buffer_limit = buffer_limit
        self.limits = HeadLimits(
            config.max_request_headers_kb * 1024,
            config.max_headers_count,
            config.headers_with_underscores_action,
            config.header_key_format,
        )
        self.spelling = PROPER if config.header_key_format == PROPER_CASE else None
        self.memo: HeadMemo[ParsedRequest] = HeadMemo()
        self._tracer = tracer
        self.styles = Styles(suppress_envoy_headers=config.suppress_envoy_headers, traced=tracer is not None)
        self.connections: set[DownstreamConnection | Http2DownstreamConnection] = set()
        self.draining = False
        self.secure = False
        self._route = route
        self._scopes: ScopedRoutes | None = None
        self._loggers = loggers
        self._memoise_for: RouteTable | None = None
        self._plans_kept = False
        self._plans: Memo[Plan] = Memo(PLAN_LIMIT)
        self._vantages: Memo[Vantage] = Memo(PLAN_LIMIT)
        self._overload = AT_EASE
        self._plan_and_begin = self._begin_by_connection if config.reads_connection else self._begin_by_head
        if tracer is not None:
            self._plan_and_begin = self._begin_traced
        self.begin = self._plan_and_begin

    def route_by(self, scopes: ScopedRoutes) -> None:
        """Choose the route table of each request by its scope. To be called before the first connection."""
        self._scopes = scopes
        self.begin = self._plan_and_begin = self._begin_scoped

    @property
    def scopes(self) -> ScopedRoutes | None:
        """What chooses the route table of a request; None where there is one table for all."""
        return self._scopes

    @property
    def table(self) -> RouteTable | None:
        """The route table in use; None while there is none, and where scopes choose."""
        return self._route.table

    def table_for(self, head: RequestHead) -> RouteTable | None:
        """The route table in use for a request."""
        return self._route.table if self._scopes is None else self._scopes.table_for(head)

    def accept(self, accepted: AcceptedSocket) -> None:
        """Serve a new connection."""
        connection = DownstreamConnection(
            self, accepted, str(accepted.remote), str(accepted.local), accepted.connection_id
        )
        if accepted.local_restored:
            connection.original_destination = connection.local
        if accepted.direct_remote is not accepted.remote:
            connection.direct_remote = str(accepted.direct_remote)
        self.connections.add(connection)
        if self.secure or self.config.codec_type != "HTTP1":
            connection.detect_protocol(self.config.codec_type)
        connection.start()

    def vantage(self, peer: str, local: str, tls: TlsInfo | None = None) -> Vantage:
        """What this manager reads of a connection from ``peer`` to ``local`` (``host:port`` each)."""
        config = self.config
        if not config.reads_connection:
            return _SECURE_NOWHERE if self.secure else _NOWHERE
        mutual = tls is not None and tls.mutual
        certificate = b""
        if tls is not None and mutual and config.forward_client_cert in ("APPEND_FORWARD", "SANITIZE_SET"):
            from isthmus_proxy.http.client_certificate import forwarded_element  # noqa: PLC0415 - few managers forward it

            certificate = forwarded_element(tls, config.client_cert_details)
        host, port = peer.rpartition(":")[0].strip("[]"), local.rpartition(":")[2]
        key = (host, port, mutual, certificate)
        vantage = self._vantages.get(key)
        if vantage is None:
            scheme = b"https" if self.secure else b"http"
            vantage = Vantage(host.encode(), int(port), announced(host.encode()), scheme, mutual, certificate)
            self._vantages.put(key, vantage)
        return vantage

    def serve_http2(self, replaced: DownstreamConnection, connection: Connection, data: bytes) -> None:
        """Serve HTTP/2 on the ``connection`` of ``replaced``, from which ``data`` has been read."""
        from isthmus_proxy.http.http2_downstream import Http2DownstreamConnection  # noqa: PLC0415 - if used

        if self._http2_stats is None:
            self._http2_stats = Http2Stats(self._http2_scope.counter, self._http2_scope.gauge)
        replaced.hand_over()
        self.connections.discard(replaced)
        served = Http2DownstreamConnection(
            self,
            connection,
            replaced.remote,
            replaced.local,
            replaced.connection_id,
            self._http2_stats,
            replaced.security,
        )
        served.original_destination, served.direct_remote = replaced.original_destination, replaced.direct_remote
        self.connections.add(served)
        served.start()
        served.data_received(data)

    def exchange(self, connection: DownstreamConnection, request: ParsedRequest, *, done: bool) -> Exchange:
        """A new exchange for ``request``, not yet begun."""
        stats = self.stats
        stats.downstream_rq_http1_total.value += 1
        exchange = self._exchange(connection, request, done=done)
        if not request.plain:
            exchange.info.protocol = request.version.decode("ascii")
        return exchange

    def http2_exchange(self, stream: Http2DownstreamStream, request: ParsedRequest, *, done: bool) -> Exchange:
        """A new exchange for ``request`` on a stream of HTTP/2, not yet begun."""
        self.stats.downstream_rq_http2_total.value += 1
        exchange = self._exchange(stream, request, done=done)
        exchange.info.protocol = "HTTP/2"
        return exchange

    def _exchange(
        self, connection: DownstreamConnection | Http2DownstreamStream, request: ParsedRequest, *, done: bool
    ) -> Exchange:
        stats = self.stats
        stats.downstream_rq_total.value += 1
        stats.downstream_rq_active.value += 1
        exchange = self._make_exchange(connection, self, request, done=done)
        info = exchange.info
        info.connection_id = connection.connection_id
        info.downstream_remote, info.downstream_direct_remote = connection.remote, connection.direct_remote
        info.downstream_local = connection.local
        if self.secure:
            info.downstream_security = connection.security
        return exchange

    def _begin_by_head(self, exchange: Exchange, vantage: Vantage) -> None:
        """Plan the exchange, or take the plan made for the same head before, and set it going."""
        request = exchange.request
        table = self._route.table
        plan = request.plan
        if not isinstance(plan, Plan) or plan.table is not table or plan.table is None:
            plan = self._plan(request, table, vantage)
            if self._plans_kept:
                request.plan = plan
        identifier = request_id(self.getrandbits) if plan.needs_id else plan.own_id
        exchange.info.request_id = identifier
        exchange.begin(plan, identifier)

    def _begin_by_connection(self, exchange: Exchange, vantage: Vantage) -> None:
        """The same where a plan holds for one client alone."""
        key = (exchange.request, vantage)
        table = self._route.table
        plan = self._plans.get(key)
        if plan is None or plan.table is not table or plan.table is None:
            plan = self._plan(exchange.request, table, vantage)
            if self._plans_kept:
                self._plans.put(key, plan)
        identifier = request_id(self.getrandbits) if plan.needs_id else plan.own_id
        exchange.info.request_id = identifier
        exchange.begin(plan, identifier)

    def _begin_traced(self, exchange: Exchange, vantage: Vantage) -> None:
        """The same with a span, which is not part of what is remembered."""
        key = (exchange.request, vantage)
        table = self._route.table
        plan = self._plans.get(key)
        if plan is None or plan.table is not table or plan.table is None:
            plan = self._plan(exchange.request, table, vantage)
            if self._plans_kept:
                self._plans.put(key, plan)
        identifier = request_id(self.getrandbits) if plan.needs_id else plan.own_id
        if self._tracer is not None:
            route = plan.decision.route if plan.decision is not None else None
            identifier = self._tracer.begin(exchange.info, plan.head, identifier, route)
        exchange.info.request_id = identifier
        exchange.begin(plan, identifier)

    def _begin_scoped(self, exchange: Exchange, vantage: Vantage) -> None:
        """The same where the scope of a request decides on its table."""
        scopes = self._scopes
        if scopes is None:
            raise TypeError("nothing chooses a table")
        key = (exchange.request, vantage)
        plan = self._plans.get(key)
        if plan is None or plan.table is None or plan.table is not scopes.table_for(plan.head):
            plan = make_plan(exchange.request, self.config, None, vantage, self.random(), scopes)
            if plan.table is not None and not has_fractions(plan.table):
                self._plans.put(key, plan)
        identifier = request_id(self.getrandbits) if plan.needs_id else plan.own_id
        if self._tracer is not None:
            route = plan.decision.route if plan.decision is not None else None
            identifier = self._tracer.begin(exchange.info, plan.head, identifier, route)
        exchange.info.request_id = identifier
        exchange.begin(plan, identifier)

    def shed(self, state: OverloadState) -> None:
        """Refuse requests and end connections as ``state`` says, from the next request on."""
        self._overload = state
        usual = not state.refuse_requests and not state.end_keepalive
        self.begin = self._plan_and_begin if usual else self._begin_overloaded

    def _begin_overloaded(self, exchange: Exchange, vantage: Vantage) -> None:
        state = self._overload
        if state.end_keepalive and self.random() < state.end_keepalive:
            self.stats.downstream_cx_overload_disable_keepalive.value += 1
            exchange.end_connection()
        if state.refuse_requests and self.random() < state.refuse_requests:
            self.stats.downstream_rq_overload_close.value += 1
            exchange.refuse(OVERLOADED)
            return
        self._plan_and_begin(exchange, vantage)

    def _plan(self, request: ParsedRequest, table: RouteTable | None, vantage: Vantage) -> Plan:
        if table is not self._memoise_for:
            self._memoise_for = table
            self._plans_kept = table is not None and not has_fractions(table)
        return make_plan(request, self.config, table, vantage, self.random())

    def record(self, exchange: Exchange, *, answered: bool = True) -> None:
        """Count and log a finished exchange. One that is not ``answered`` goes on as another."""
        info, stats = exchange.info, self.stats
        ended = info.ended_at = self.reactor.now
        stats.downstream_rq_active.value -= 1
        if info.status and answered and not info.health_check:
            stats.downstream_rq_completed.value += 1
            stats.classes[info.status // 100 if info.status < 600 else 0].value += 1
        stats.downstream_rq_time.record((ended - info.started_at) * 1000.0)
        if self._tracer is not None and answered:
            self._tracer.log(info)
        if self._loggers:
            self._fill_heads(exchange)
            for logger in self._loggers:
                logger.log(info)

    def _fill_heads(self, exchange: Exchange) -> None:
        """Put what was cut into the planned heads into their values too: loggers read them at once, and nobody later."""
        info = exchange.info
        target = exchange.target
        if target is not None and info.request is target.head and target.id_index >= 0:
            target.head.headers[target.id_index] = (X_REQUEST_ID, exchange.identifier)
        plan = exchange.response
        if plan is not None and info.upstream_first_byte_at is not None:
            took = info.upstream_first_byte_at - (info.request_end_at or info.upstream_first_byte_at)
            plan.fill(int(took * 1000.0), self.clock.date(self.reactor.now), exchange.identifier)

    def log_rejected(self, info: StreamInfo, *, http2: bool = False) -> None:
        """Count and log a request that never became an exchange (a malformed head)."""
        info.ended_at = self.reactor.now
        self.stats.downstream_rq_total.value += 1
        (self.stats.downstream_rq_http2_total if http2 else self.stats.downstream_rq_http1_total).value += 1
        self.stats.downstream_rq_completed.value += 1
        self.stats.answered_early()
        self.stats.classes[info.status // 100].value += 1
        for logger in self._loggers:
            logger.log(info)

    def drain(self) -> None:
        """End every connection after its next response, which says ``connection: close``; idle ones after a grace.

        A client may send a request at the very moment at which its idle connection is closed, and such a request is lost. Within
        the grace, clients that use their connections learn of the end from a response instead.
        """
        self.draining = True
        if self.connections:
            self.reactor.call_later(IDLE_GRACE_S, self._close_idle)

    def end_connections(self, share: float) -> None:
        """Let a share of the connections, each drawn by chance, end with their next request."""
        for connection in list(self.connections):
            if self.random() < share:
                connection.end_with_next()

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            connection.drain()

    def close(self) -> None:
        """Close every connection at once."""
        for connection in list(self.connections):
            connection.break_off()
