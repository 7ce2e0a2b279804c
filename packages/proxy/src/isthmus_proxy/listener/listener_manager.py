"""All listeners by name: added, changed, removed and drained without dropping a running request."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import trio

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.connection_manager import AccessLog, HttpConnectionManager, Surroundings
from isthmus_proxy.http.stats import HttpStats, StatsScope
from isthmus_proxy.listener.acceptor import Acceptor, bind, listen
from isthmus_proxy.listener.active_listener import ActiveListener, Generation, ListenerStats, NetworkFilter
from isthmus_proxy.listener.model import (
    AccessLogConfig,
    HttpConnectionManagerConfig,
    ListenerConfig,
    RdsReference,
    SocketAddress,
    TcpProxyConfig,
)
from isthmus_proxy.listener.tcp_proxy import TcpProxy, TcpStats
from isthmus_proxy.route.table import RouteHandle, RouteHandles, RouteTable


class Stats(Protocol):
    """Where scopes are made (``observe.stats.StatsStore``)."""

    def scope(self, prefix: str) -> StatsScope:
        """The scope below ``prefix``."""


class AccessLogs(Protocol):
    """Opens and closes the loggers of a filter chain (``observe.access_log.AccessLogManager``)."""

    def open_loggers(self, configs: tuple[AccessLogConfig, ...], /) -> tuple[AccessLog, ...]:
        """One logger for each config."""

    def close_loggers(self, loggers: tuple[AccessLog, ...], /) -> None:
        """Give loggers up."""


@dataclass(frozen=True, slots=True)
class ListenerRow:
    """One listener as the admin view shows it."""

    name: str
    address: SocketAddress
    draining: bool
    connections: int


@dataclass(frozen=True, slots=True)
class _Reservation:
    """A bound socket on which nothing is accepted yet."""

    address: SocketAddress
    sock: socket.socket


class ListenerManager:
    """See the module. ``share_ports`` lets other worker processes listen on the same ports (SO_REUSEPORT)."""

    __slots__ = (
        "_access_logs",
        "_closing",
        "_connection_ids",
        "_leaving",
        "_listeners",
        "_no_connections",
        "_own_stats",
        "_reserved",
        "_routes",
        "_share_ports",
        "_stats",
        "_surroundings",
    )

    def __init__(
        self,
        surroundings: Surroundings,
        routes: RouteHandles,
        stats: Stats,
        access_logs: AccessLogs,
        *,
        share_ports: bool = False,
    ) -> None:
        self._surroundings = surroundings
        self._routes = routes
        self._stats = stats
        self._access_logs = access_logs
        self._share_ports = share_ports
        self._listeners: dict[str, ActiveListener] = {}
        self._leaving: list[ActiveListener] = []
        self._reserved: dict[str, _Reservation] = {}
        self._connection_ids = count(1)
        self._closing = False
        self._no_connections: trio.Event | None = None
        self._own_stats = stats.scope("listener_manager")
        for name in ("listener_added", "listener_modified", "listener_removed", "listener_create_failure"):
            self._own_stats.counter(name)
        self._count_listeners()

    def reserve(self, config: ListenerConfig) -> None:
        """Take the address of a listener that is to open later. Raises ConfigError (and changes nothing) if it cannot be had.

        Envoy, too, binds before a listener warms: so the control plane hears of a conflict in the answer to its update.
        """
        listener, reserved = self._listeners.get(config.name), self._reserved.get(config.name)
        if config.address in (listener and listener.config.address, reserved and reserved.address):
            return
        try:
            self._check_address(config)
            sock = bind(config, share_port=self._share_ports)
        except ConfigError:
            self._own_stats.counter("listener_create_failure").value += 1
            raise
        self._release(config.name)
        self._reserved[config.name] = _Reservation(config.address, sock)

    def _release(self, name: str) -> None:
        reserved = self._reserved.pop(name, None)
        if reserved is not None:
            reserved.sock.close()

    def _bound(self, config: ListenerConfig) -> socket.socket:
        """The socket of a listener that opens now: the reserved one if its address did not change meanwhile."""
        reserved = self._reserved.get(config.name)
        if reserved is not None and reserved.address == config.address:
            return self._reserved.pop(config.name).sock
        sock = bind(config, share_port=self._share_ports)
        self._release(config.name)
        return sock

    def add_or_update(self, config: ListenerConfig) -> SocketAddress:
        """Make ``config`` serve; answer the address it is bound to. An unchanged one is left alone.

        Raises ConfigError (and changes nothing) if the address cannot be had. On the same address the socket stays, and with
        it what waits in its queue; on another one the new socket opens before the old one closes.
        """
        listener = self._listeners.get(config.name)
        if listener is not None and listener.config == config:
            return listener.address
        try:
            if listener is not None and listener.config.address == config.address:
                listener.swap(config, self._generation(config, listener))
                self._release(config.name)
            else:
                listener = self._open(config)
        except ConfigError:
            self._own_stats.counter("listener_create_failure").value += 1
            raise
        self._count_listeners()
        return listener.address

    def _open(self, config: ListenerConfig) -> ActiveListener:
        self._check_address(config)
        sock = self._bound(config)
        listen(sock, config)
        host, port = sock.getsockname()[:2]
        stats = ListenerStats(self._stats.scope(f"listener.{SocketAddress(host, port)}".replace(":", "_")))
        listener = ActiveListener(config, stats, self._connection_ids.__next__)
        try:
            generation = self._generation(config, listener)
        except ConfigError:
            sock.close()
            stats.scope.close()
            raise
        listener.swap(config, generation)
        listener.listen(Acceptor(self._surroundings.reactor, sock, listener.accepted, _counting(stats)))
        previous = self._listeners.get(config.name)
        self._listeners[config.name] = listener
        if previous is not None:
            self._retire(previous)
            self._own_stats.counter("listener_modified").value += 1
        else:
            self._own_stats.counter("listener_added").value += 1
        return listener

    def _check_address(self, config: ListenerConfig) -> None:
        taken = {listener.address: name for name, listener in self._listeners.items() if name != config.name}
        taken |= {reserved.address: name for name, reserved in self._reserved.items() if name != config.name}
        if config.address.port and config.address in taken:
            reason = f"listener {taken[config.address]} has this address; give each listener its own"
            raise ConfigError("address.socket_address", str(config.address), reason, f"listener {config.name}")

    def _generation(self, config: ListenerConfig, listener: ActiveListener) -> Generation:
        chain = config.filter_chains[0].network_filter
        loggers = self._access_logs.open_loggers(chain.access_logs)
        network_filter, scope = self._filter(chain, config, listener, loggers)

        def release() -> None:
            self._access_logs.close_loggers(loggers)
            scope.close()

        return Generation(network_filter, release)

    def _filter(
        self,
        chain: HttpConnectionManagerConfig | TcpProxyConfig,
        config: ListenerConfig,
        listener: ActiveListener,
        loggers: tuple[AccessLog, ...],
    ) -> tuple[NetworkFilter, StatsScope]:
        def closed(seconds: float) -> None:
            listener.connection_closed(seconds)
            self._connection_closed()

        limit = config.per_connection_buffer_limit_bytes
        if isinstance(chain, TcpProxyConfig):
            tcp_stats = TcpStats(self._stats.scope(f"tcp.{chain.stat_prefix}"))
            return TcpProxy(chain, self._surroundings, tcp_stats, loggers, limit, closed), tcp_stats.scope
        stats = HttpStats(self._stats.scope(f"http.{chain.stat_prefix}"))
        handle = self._handle(chain)
        manager = HttpConnectionManager(chain, self._surroundings, handle, stats, loggers, limit, closed)
        manager.draining = self._closing
        return manager, stats.scope

    def _handle(self, config: HttpConnectionManagerConfig) -> RouteHandle:
        if isinstance(config.route, RdsReference):
            return self._routes.get_or_create(config.route.route_config_name)
        return RouteHandle(config.route.name, RouteTable(config.route, self._routes.runtime))

    def remove(self, name: str) -> bool:
        """Take no more connections for ``name``; those there are end by themselves. Answer whether it was there."""
        self._release(name)
        listener = self._listeners.pop(name, None)
        if listener is None:
            return False
        self._retire(listener)
        self._own_stats.counter("listener_removed").value += 1
        self._count_listeners()
        return True

    def _retire(self, listener: ActiveListener) -> None:
        listener.stop()
        if listener.connection_count:
            self._leaving.append(listener)
        else:
            listener.stats.scope.close()

    def _connection_closed(self) -> None:
        if self._leaving:
            self._sweep()
        if self._no_connections is not None and not self.connection_count:
            self._no_connections.set()

    def _sweep(self) -> None:
        gone = [listener for listener in self._leaving if not listener.connection_count]
        for listener in gone:
            self._leaving.remove(listener)
            listener.stats.scope.close()
        self._count_listeners()

    def _count_listeners(self) -> None:
        self._own_stats.gauge("total_listeners_active").value = len(self._listeners)
        self._own_stats.gauge("total_listeners_draining").value = len(self._leaving)

    async def drain(self, deadline: float = float("inf")) -> bool:
        """Take no more connections, end the idle ones, and wait for the others until ``deadline`` (trio's clock).

        Answer whether all are gone. The listeners stay in ``active`` as draining until ``close``.
        """
        self._no_connections = trio.Event()
        for listener in self._listeners.values():
            listener.stop()
        if self.connection_count:
            with trio.move_on_at(deadline):
                await self._no_connections.wait()
        return not self.connection_count

    def close_after_response(self, closing: bool) -> None:
        """Go on accepting, but answer with ``connection: close`` (``/healthcheck/fail``), or no longer (``ok``)."""
        self._closing = closing
        for listener in self._listeners.values():
            current = listener.current
            if current is not None and isinstance(current.network_filter, HttpConnectionManager):
                current.network_filter.draining = closing

    def close(self) -> None:
        """Close every listener and every connection at once."""
        for name in list(self._reserved):
            self._release(name)
        for listener in [*self._listeners.values(), *self._leaving]:
            listener.close()
        self._listeners.clear()
        self._leaving.clear()
        self._surroundings.pools.close()
        self._count_listeners()

    @property
    def connection_count(self) -> int:
        """Connections being served by all listeners, removed ones included."""
        return sum(listener.connection_count for listener in [*self._listeners.values(), *self._leaving])

    def active(self) -> list[ListenerRow]:
        """All listeners, those that drain included, for ``/listeners``."""
        return [
            ListenerRow(listener.config.name, listener.address, not listener.listening, listener.connection_count)
            for listener in [*self._listeners.values(), *self._leaving]
        ]


def _counting(stats: ListenerStats) -> Callable[[], None]:
    def exhausted() -> None:
        stats.overflow.value += 1

    return exhausted
