"""One listener in use: its sockets, the filter chains for new connections, and older ones until their connections end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.http.connection_manager import HttpConnectionManager
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.acceptor import Acceptor
from isthmus_proxy.listener.generation import Generation
from isthmus_proxy.listener.listener_log import ListenerLog, unmatched
from isthmus_proxy.listener.model import Address, FilterChain, ListenerConfig
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.overload.model import OverloadState
from isthmus_proxy.route.table import RouteTable

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import ScopedRoutes


class ListenerStats:
    """What a listener counts, under Envoy's names below ``listener.<address>.``."""

    __slots__ = (
        "active",
        "destroyed",
        "filter_error",
        "filter_remote_close",
        "global_overflow",
        "length",
        "no_filter_chain_match",
        "overflow",
        "overload_reject",
        "pre_active",
        "pre_timeout",
        "scope",
        "total",
    )

    def __init__(self, scope: StatsScope) -> None:
        self.scope = scope
        self.total = scope.counter("downstream_cx_total")
        self.destroyed = scope.counter("downstream_cx_destroy")
        self.overflow = scope.counter("downstream_cx_overflow")
        self.global_overflow = scope.counter("downstream_global_cx_overflow")
        self.overload_reject = scope.counter("downstream_cx_overload_reject")
        self.active = scope.gauge("downstream_cx_active")
        self.length = scope.histogram("downstream_cx_length_ms")
        self.no_filter_chain_match = scope.counter("no_filter_chain_match")
        self.pre_active = scope.gauge("downstream_pre_cx_active")
        self.pre_timeout = scope.counter("downstream_pre_cx_timeout")
        self.filter_remote_close = scope.counter("downstream_listener_filter_remote_close")
        self.filter_error = scope.counter("downstream_listener_filter_error")


class Owner(Protocol):
    """Who knows all listeners."""

    def refusal(self, listener: ActiveListener) -> Counter | None:
        """What counts a new connection that is not to be served; None if it is."""

    def redirect(self, listener: ActiveListener, accepted: AcceptedSocket) -> bool:
        """Give a connection to the listener of its original destination, if there is another one."""

    def connection_ended(self) -> None:
        """A connection of any listener is over."""


class ActiveListener:
    """Accepts for the newest generation of its configuration; older generations drain."""

    __slots__ = (
        "_connection_id",
        "_owner",
        "_stopped",
        "acceptors",
        "config",
        "current",
        "draining",
        "log",
        "stats",
    )

    def __init__(
        self,
        config: ListenerConfig,
        stats: ListenerStats,
        connection_id: Callable[[], int],
        owner: Owner,
        log: ListenerLog,
    ) -> None:
        self.config = config
        self.stats = stats
        self.log = log
        self.current: Generation | None = None
        self.draining: list[Generation] = []
        self._connection_id = connection_id
        self._owner = owner
        self.acceptors: list[Acceptor] = []
        self._stopped = False

    def listen(self, acceptor: Acceptor) -> None:
        """Take connections from ``acceptor``, too."""
        self.acceptors.append(acceptor)

    def hold(self, *, held: bool) -> None:
        """Leave new connections in the kernel's queue, or take them again."""
        for acceptor in self.acceptors:
            acceptor.hold(held=held)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The bound addresses, the main one first; the configured ones where nothing is bound."""
        return tuple(acceptor.address for acceptor in self.acceptors) or self.config.addresses

    @property
    def address(self) -> Address:
        """The main address."""
        return self.addresses[0]

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return not self._stopped

    @property
    def connection_count(self) -> int:
        """Connections being served, by all generations."""
        generations = [*self.draining, *([self.current] if self.current is not None else [])]
        return sum(generation.connection_count for generation in generations)

    def shed(self, state: OverloadState) -> None:
        """Tell the HTTP connection managers of all generations what to do under overload."""
        for generation in [*self.draining, *([self.current] if self.current is not None else [])]:
            generation.shed(state)

    def swap(self, config: ListenerConfig, generation: Generation, log: ListenerLog) -> None:
        """Serve new connections by ``generation``; the others finish what they are at. All are logged to ``log``."""
        if log is not self.log:
            self.log.close()
            self.log = log
        previous, self.current, self.config = self.current, generation, config
        if previous is not None:
            self.draining.append(previous)
            previous.drain(generation.chains)
        self.emptied()

    def accepted(self, sock: socket.socket, remote: Address, local: Address) -> None:
        """Serve a new connection."""
        refusal = self._owner.refusal(self)
        if refusal is not None:
            refusal.value += 1
        if self.current is None or refusal is not None:
            sock.close()
            return
        self.current.accept(AcceptedSocket(sock, remote, local, self._connection_id()))

    def take_over(self, accepted: AcceptedSocket) -> bool:
        """Serve a connection that came in at another listener. Answer whether it does."""
        if self.current is None:
            return False
        self.current.accept(accepted, redirected=True)
        return True

    def chain_for(self, accepted: AcceptedSocket) -> FilterChain | None:
        """The filter chain that would serve a connection."""
        chain = self.current.chain_for(accepted) if self.current is not None else None
        return chain.config if chain is not None else None

    def table_of(self, chain: FilterChain) -> RouteTable | None:
        """The route table in use in a chain; None while there is none."""
        for serving in self.current.chains if self.current is not None else ():
            if serving.config is chain and isinstance(serving.network_filter, HttpConnectionManager):
                return serving.network_filter.table
        return None

    def scopes_of(self, chain: FilterChain) -> ScopedRoutes | None:
        """What chooses the route table in a chain; None where there is one for all."""
        for serving in self.current.chains if self.current is not None else ():
            if serving.config is chain and isinstance(serving.network_filter, HttpConnectionManager):
                return serving.network_filter.scopes
        return None

    def managers(self) -> Iterator[HttpConnectionManager]:
        """The HTTP connection managers for new connections."""
        for chain in self.current.chains if self.current is not None else ():
            if isinstance(chain.network_filter, HttpConnectionManager):
                yield chain.network_filter

    def redirect(self, accepted: AcceptedSocket) -> bool:
        """See ``generation.Host``."""
        return self._owner.redirect(self, accepted)

    def opened(self) -> None:
        """See ``generation.Host``."""
        self.stats.total.value += 1
        self.stats.active.value += 1

    def looking_at(self) -> None:
        """See ``generation.Host``."""
        self.stats.pre_active.value += 1

    def timed_out(self) -> None:
        """See ``generation.Host``."""
        self.stats.pre_timeout.value += 1

    def dropped(self, accepted: AcceptedSocket, reason: str) -> None:
        """See ``generation.Host``."""
        if reason == "no_match":
            self.stats.no_filter_chain_match.value += 1
            self.log.ended(0.0, partial(unmatched, accepted))
        elif reason == "remote_close":
            self.stats.filter_remote_close.value += 1
        elif reason == "error":
            self.stats.filter_error.value += 1

    def connection_closed(self, seconds: float, describe: Callable[[], StreamInfo]) -> None:
        """A connection that lasted for ``seconds`` is over."""
        self.stats.active.value -= 1
        self.stats.destroyed.value += 1
        self.stats.length.record(seconds * 1000.0)
        self.log.ended(seconds, describe)
        if self.draining:
            self.emptied()
        self._owner.connection_ended()

    def looked_at(self) -> None:
        """See ``generation.Host``."""
        self.stats.pre_active.value -= 1
        if self.draining:
            self.emptied()
        self._owner.connection_ended()

    def emptied(self) -> None:
        """Give up drained generations without connections."""
        done = [generation for generation in self.draining if not generation.connection_count]
        self.draining = [generation for generation in self.draining if generation not in done]
        for generation in done:
            generation.release()
        if self._stopped and not self.draining:
            self.log.close()

    def close_sockets(self) -> None:
        """Take no more connections, and leave those there are as they are."""
        for acceptor in self.acceptors:
            acceptor.close()

    def stop(self) -> None:
        """Take no more connections and let those there are end."""
        self._stopped = True
        self.close_sockets()
        if self.current is not None:
            current, self.current = self.current, None
            self.draining.append(current)
            current.drain()
        self.emptied()

    def close(self) -> None:
        """Close everything at once."""
        self.stop()
        for generation in list(self.draining):
            generation.close()
        self.emptied()
