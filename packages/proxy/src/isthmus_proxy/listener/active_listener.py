"""One listener in use: its socket, the network filter for new connections, and older ones until their connections end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from isthmus_proxy.http.stats import StatsScope
from isthmus_proxy.listener.acceptor import Acceptor
from isthmus_proxy.listener.model import ListenerConfig, SocketAddress


class NetworkFilter(Protocol):
    """The terminal network filter of a filter chain: an HTTP connection manager or a TCP proxy."""

    @property
    def connections(self) -> Collection[object]:
        """What is being served."""

    def accept(self, sock: socket.socket, peer: str, local: str, connection_id: int) -> None:
        """Serve a new connection."""

    def drain(self) -> None:
        """Let connections end as soon as their protocol allows it."""

    def close(self) -> None:
        """Close every connection at once."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A filter and what to give back once its last connection is gone."""

    network_filter: NetworkFilter
    release: Callable[[], None]


class ListenerStats:
    """What a listener counts, under Envoy's names below ``listener.<address>.``."""

    __slots__ = ("active", "destroyed", "length", "overflow", "scope", "total")

    def __init__(self, scope: StatsScope) -> None:
        self.scope = scope
        self.total = scope.counter("downstream_cx_total")
        self.destroyed = scope.counter("downstream_cx_destroy")
        self.overflow = scope.counter("downstream_cx_overflow")
        self.active = scope.gauge("downstream_cx_active")
        self.length = scope.histogram("downstream_cx_length_ms")


class ActiveListener:
    """Accepts for the newest generation of its configuration; older generations drain."""

    __slots__ = ("_acceptor", "_connection_id", "_local", "config", "current", "draining", "stats")

    def __init__(self, config: ListenerConfig, stats: ListenerStats, connection_id: Callable[[], int]) -> None:
        self.config = config
        self.stats = stats
        self.current: Generation | None = None
        self.draining: list[Generation] = []
        self._connection_id = connection_id
        self._acceptor: Acceptor | None = None
        self._local = ""

    def listen(self, acceptor: Acceptor) -> None:
        """Take connections from ``acceptor``."""
        self._acceptor = acceptor
        self._local = str(acceptor.address)

    @property
    def address(self) -> SocketAddress:
        """The bound address; the configured one before the socket is there."""
        return self._acceptor.address if self._acceptor is not None else self.config.address

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._acceptor is not None and self._acceptor.listening

    @property
    def connection_count(self) -> int:
        """Connections being served, by all generations."""
        generations = [*self.draining, *([self.current] if self.current is not None else [])]
        return sum(len(generation.network_filter.connections) for generation in generations)

    def swap(self, config: ListenerConfig, generation: Generation) -> None:
        """Serve new connections by ``generation``; the others finish what they are at."""
        previous, self.current, self.config = self.current, generation, config
        if previous is not None:
            self.draining.append(previous)
            previous.network_filter.drain()
        self.sweep()

    def accepted(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Serve a new connection."""
        if self.current is None:
            sock.close()
            return
        self.stats.total.value += 1
        self.stats.active.value += 1
        host, port = peer[:2]
        remote = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.current.network_filter.accept(sock, remote, self._local, self._connection_id())

    def connection_closed(self, seconds: float) -> None:
        """A connection that lasted for ``seconds`` is over."""
        self.stats.active.value -= 1
        self.stats.destroyed.value += 1
        self.stats.length.record(seconds * 1000.0)
        if self.draining:
            self.sweep()

    def sweep(self) -> None:
        """Give up drained generations without connections."""
        done = [generation for generation in self.draining if not generation.network_filter.connections]
        self.draining = [generation for generation in self.draining if generation not in done]
        for generation in done:
            generation.release()

    def stop(self) -> None:
        """Take no more connections and let those there are end."""
        if self._acceptor is not None:
            self._acceptor.close()
        if self.current is not None:
            current, self.current = self.current, None
            self.draining.append(current)
            current.network_filter.drain()
        self.sweep()

    def close(self) -> None:
        """Close everything at once."""
        self.stop()
        for generation in list(self.draining):
            generation.network_filter.close()
        self.sweep()
