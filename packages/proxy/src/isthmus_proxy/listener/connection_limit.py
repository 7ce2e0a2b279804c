"""The connection_limit network filter: connections above a number are closed before anything serves them."""

from __future__ import annotations

import socket
from collections.abc import Callable

from isthmus_proxy.http.stats import StatsScope
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.model import ConnectionLimitConfig
from isthmus_proxy.reactor.reactor import Reactor

MAX_DELAYED = 1024
"""Refused connections that are held for ``delay`` at a time; those beyond are closed at once."""


class ConnectionLimit:
    """Counts what it admitted. ``refused(seconds)`` is called at the end of each connection that it did not admit."""

    __slots__ = ("_active", "_config", "_delayed", "_gauge", "_limited", "_reactor", "_refused")

    def __init__(
        self, config: ConnectionLimitConfig, scope: StatsScope, reactor: Reactor, refused: Callable[[float], None]
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._refused = refused
        self._gauge = scope.gauge("active_connections")
        self._limited = scope.counter("limited_connections")
        self._active = 0
        self._delayed: set[socket.socket] = set()

    def admit(self, accepted: AcceptedSocket) -> bool:
        """See ``serving_chain.Gate``."""
        self._gauge.value += 1
        if self._active < self._config.max_connections:
            self._active += 1
            return True
        self._limited.value += 1
        sock, delay = accepted.sock, self._config.delay
        if delay and len(self._delayed) < MAX_DELAYED:
            self._delayed.add(sock)
            self._reactor.call_later(delay, lambda: self._end(sock, delay))
        else:
            self._end(sock, 0.0)
        return False

    def connection_closed(self) -> None:
        """See ``serving_chain.Gate``."""
        self._active -= 1
        self._gauge.value -= 1

    def close(self) -> None:
        """Close the connections that are held."""
        for sock in list(self._delayed):
            self._end(sock, self._config.delay)

    def _end(self, sock: socket.socket, seconds: float) -> None:
        if self._config.delay and seconds and sock not in self._delayed:
            return  # closed meanwhile
        self._delayed.discard(sock)
        self._gauge.value -= 1
        self._reactor.close(sock)
        self._refused(seconds)
