"""Makes filter chains serve: opens their access logs and stats, and builds the network filters on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.codec.http1.memo import HeadMemo
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.http.connection_manager import HttpConnectionManager
from isthmus_proxy.http.http_filter_chain import FilterEntry, HttpFilterChain
from isthmus_proxy.http.stats import http_stats
from isthmus_proxy.http.stream_info import ConnectionEnded, StreamInfo
from isthmus_proxy.http.surroundings import AccessLog, Surroundings, Tracer
from isthmus_proxy.listener.connection_limit import ConnectionLimit
from isthmus_proxy.listener.direct_response import DirectResponse
from isthmus_proxy.listener.listener_log import AccessLogs
from isthmus_proxy.listener.model import (
    ConnectionLimitConfig,
    DirectResponseConfig,
    FilterChain,
    GateConfig,
    HttpConnectionManagerConfig,
    RdsReference,
    RpcProxyConfig,
    ScopedRoutesConfig,
    TcpProxyConfig,
    TerminalFilterConfig,
)
from isthmus_proxy.listener.serving_chain import Gate, NetworkFilter, ServingChain
from isthmus_proxy.listener.tcp_proxy import TcpProxy, TcpStats
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.overload.model import AT_EASE
from isthmus_proxy.route.table import RouteHandle, RouteHandles

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import ScopedRoutes
    from isthmus_proxy.tls.gate import TlsGate


class Stats(Protocol):
    """Where scopes are made (``observe.stats.StatsStore``)."""

    def scope(self, prefix: str) -> StatsScope:
        """The scope below ``prefix``."""


class Closable(Protocol):
    """What a filter chain gives up at its end."""

    def close(self) -> None:
        """Give it up."""


class _Memo:
    """A memo of request heads among those that stats tell of."""

    __slots__ = ("_all", "_own")

    def __init__(self, everybody: set[HeadMemo[ParsedRequest]], own: HeadMemo[ParsedRequest]) -> None:
        self._all = everybody
        self._own = own
        everybody.add(own)

    def close(self) -> None:
        self._all.discard(self._own)


class _Context:
    """What HTTP filters get from their connection manager (``http.filters.stream_filter.FilterContext``)."""

    __slots__ = ("_closables", "_store", "runtime", "stats", "surroundings")

    def __init__(self, surroundings: Surroundings, stats: StatsScope, store: Stats, closables: list[Closable]) -> None:
        self.surroundings = surroundings
        self.runtime = surroundings.runtime
        self.stats = stats
        self._store = store
        self._closables = closables

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        self.surroundings.start_soon(task, *args)

    def scope(self, prefix: str) -> StatsScope:
        scope = self._store.scope(prefix)
        self._closables.append(scope)
        return scope

    def own(self, closable: Closable) -> None:
        self._closables.append(closable)

    def part(self) -> _Context:
        return _Context(self.surroundings, self.stats, self._store, [])

    def close(self) -> None:
        for each in self._closables:
            each.close()


class ChainFactory:
    """See the module. ``closing``: responses of connection managers made from now on close their connections.

    ``overload`` is what they have to do under overload.
    """

    __slots__ = ("_access_logs", "_routes", "_stats", "_surroundings", "closing", "overload")

    def __init__(self, surroundings: Surroundings, routes: RouteHandles, stats: Stats, access_logs: AccessLogs) -> None:
        self._surroundings = surroundings
        self._routes = routes
        self._stats = stats
        self._access_logs = access_logs
        self.closing = False
        self.overload = AT_EASE

    def make(
        self, config: FilterChain, buffer_limit: int, closed: ConnectionEnded, listener: StatsScope
    ) -> ServingChain:
        """A chain that calls ``closed`` with each connection that is over, of the listener with that scope. Raises ConfigError."""
        tls = self._tls(config, closed, listener)
        filter_config = config.network_filter
        loggers: tuple[AccessLog, ...] = ()
        if not isinstance(filter_config, DirectResponseConfig):
            loggers = self._access_logs.open_loggers(filter_config.access_logs)
        scopes: list[Closable] = []
        at_once = [each for each in config.gates if not _waits_for_tls(each)]
        gates: list[Gate] = [self._gate(each, closed, scopes) for each in at_once]
        if tls is not None:
            gates.append(tls)
        gates.extend(self._gate(each, closed, scopes) for each in config.gates if _waits_for_tls(each))

        def ended(seconds: float, describe: Callable[[], StreamInfo]) -> None:
            for gate in gates:
                gate.connection_closed()
            closed(seconds, describe)

        def release() -> None:
            self._access_logs.close_loggers(loggers)
            if tls is not None:
                tls.release()
            for scope in scopes:
                scope.close()

        on_close = ended if gates else closed
        network_filter = self._filter(filter_config, buffer_limit, loggers, on_close, scopes, secure=tls is not None)
        return ServingChain(config, buffer_limit, network_filter, gates, release)

    def _tls(self, config: FilterChain, closed: ConnectionEnded, listener: StatsScope) -> TlsGate | None:
        if config.tls is None:
            return None
        from isthmus_proxy.tls.gate import TlsGate  # noqa: PLC0415 - few configurations have TLS

        factory = self._surroundings.tls()
        tls = factory.server(config.tls, listener, config.transport_socket_connect_timeout)
        return TlsGate(factory, tls, self._surroundings.reactor, closed)

    def _gate(self, config: GateConfig, closed: ConnectionEnded, scopes: list[Closable]) -> Gate:
        if isinstance(config, ConnectionLimitConfig):
            scope = self._stats.scope(f"connection_limit.{config.stat_prefix}")
            scopes.append(scope)
            return ConnectionLimit(config, scope, self._surroundings.reactor, closed)
        from isthmus_proxy.listener.connection_rbac import ConnectionRbac  # noqa: PLC0415 - few configurations have it

        scope = self._stats.scope(f"{config.stat_prefix.rstrip('.')}.rbac")
        scopes.append(scope)
        return ConnectionRbac(config, scope, self._surroundings.reactor, closed)

    def _filter(
        self,
        config: TerminalFilterConfig,
        buffer_limit: int,
        loggers: tuple[AccessLog, ...],
        closed: ConnectionEnded,
        scopes: list[Closable],
        *,
        secure: bool,
    ) -> NetworkFilter:
        if isinstance(config, DirectResponseConfig):
            return DirectResponse(config, self._surroundings.reactor, closed)
        if isinstance(config, TcpProxyConfig):
            tcp_stats = TcpStats(self._stats.scope(f"tcp.{config.stat_prefix}"))
            scopes.append(tcp_stats.scope)
            return TcpProxy(config, self._surroundings, tcp_stats, loggers, buffer_limit, closed)
        if isinstance(config, RpcProxyConfig):
            return self._rpc_proxy(config, buffer_limit, loggers, closed, scopes)
        stats = http_stats(self._stats.scope(f"http.{config.stat_prefix}"))
        scopes.append(stats.scope)
        scoped = config.route if isinstance(config.route, ScopedRoutesConfig) else None
        handle = self._handle(config, scopes) if scoped is None else RouteHandle("")
        http2 = self._stats.scope("http2")  # of the process: never closed
        tracer = self._tracer(config, f"http.{config.stat_prefix}", scopes)
        filters = self._http_filters(config, stats.scope, scopes)
        manager = HttpConnectionManager(
            config, self._surroundings, handle, stats, loggers, buffer_limit, closed, http2, tracer, filters
        )
        if scoped is not None:
            manager.route_by(self._scoped_routes(scoped, scopes))
        manager.secure = secure
        manager.draining = self.closing
        manager.shed(self.overload)
        scopes.append(_Memo(self._surroundings.heads, manager.memo))
        return manager

    def _tracer(
        self, config: HttpConnectionManagerConfig | RpcProxyConfig, prefix: str, scopes: list[Closable]
    ) -> Tracer | None:
        if config.tracing is None:
            return None
        tracer = self._surroundings.tracers(config.tracing, self._stats.scope(f"{prefix}.tracing"))
        scopes.append(tracer)
        return tracer

    def _rpc_proxy(
        self,
        config: RpcProxyConfig,
        buffer_limit: int,
        loggers: tuple[AccessLog, ...],
        closed: ConnectionEnded,
        scopes: list[Closable],
    ) -> NetworkFilter:
        from isthmus_proxy.rpc.codecs import make_codec  # noqa: PLC0415 - loaded where a protocol of remote calls is served
        from isthmus_proxy.rpc.rpc_proxy import RpcProxy  # noqa: PLC0415 - the same
        from isthmus_proxy.rpc.stats import RpcStats  # noqa: PLC0415 - the same

        stats = RpcStats(self._stats.scope(f"rpc.{config.stat_prefix}"))
        scopes.append(stats.scope)
        handle = self._handle(config, scopes)
        tracer = self._tracer(config, f"rpc.{config.stat_prefix}", scopes)
        proxy = RpcProxy(
            config,
            make_codec(config.codec, verify_crc=config.verify_crc),
            self._surroundings,
            handle,
            stats,
            loggers,
            buffer_limit,
            closed,
            self._http_filters(config, stats.scope, scopes),
            tracer,
        )
        scopes.insert(0, proxy)  # requests of clients that are gone may still keep connections to endpoints
        return proxy

    def _http_filters(
        self, config: HttpConnectionManagerConfig | RpcProxyConfig, own: StatsScope, scopes: list[Closable]
    ) -> HttpFilterChain | None:
        if not config.http_filters:
            return None
        context = _Context(self._surroundings, own, self._stats, scopes)
        entries = [FilterEntry(each.name, each.config.make(context), each.disabled) for each in config.http_filters]
        return HttpFilterChain(tuple(entries))

    def _handle(self, config: HttpConnectionManagerConfig | RpcProxyConfig, scopes: list[Closable]) -> RouteHandle:
        if isinstance(config.route, RdsReference):
            return self._routes.get_or_create(config.route.route_config_name)
        if isinstance(config.route, ScopedRoutesConfig):
            raise TypeError("scopes have no one table")
        table = self._routes.table(config.route)
        scopes.append(table)
        return RouteHandle(config.route.name, table)

    def _scoped_routes(self, config: ScopedRoutesConfig, scopes: list[Closable]) -> ScopedRoutes:
        from isthmus_proxy.route.scopes import ScopedRoutes, ScopeSet  # noqa: PLC0415 - few configurations have any

        if config.scopes is None:
            return ScopedRoutes(config.builders, self._routes.scopes())
        own = ScopeSet(self._routes)
        own.replace(config.scopes)
        scopes.append(own)
        return ScopedRoutes(config.builders, own)


def _waits_for_tls(gate: GateConfig) -> bool:
    return not isinstance(gate, ConnectionLimitConfig) and gate.after_handshake
