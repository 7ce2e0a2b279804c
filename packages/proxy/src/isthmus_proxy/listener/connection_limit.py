"""The connection_limit network filter: connections above a number are closed before anything serves them."""

from __future__ import annotations

from functools import partial

from isthmus_proxy.http.stream_info import ConnectionEnded
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.listener_log import accepted_info
from isthmus_proxy.listener.model import ConnectionLimitConfig
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.reactor import Reactor

MAX_DELAYED = 1024
"""Refused connections that are held for ``delay`` at a time; those beyond are closed at once."""


class ConnectionLimit:
    """Counts what it admitted. ``refused`` is called at the end of each connection that it did not admit."""

    __slots__ = ("_active", "_config", "_delayed", "_gauge", "_limited", "_reactor", "_refused")

    def __init__(
        self, config: ConnectionLimitConfig, scope: StatsScope, reactor: Reactor, refused: ConnectionEnded
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._refused = refused
        self._gauge = scope.gauge("active_connections")
        self._limited = scope.counter("limited_connections")
        self._active = 0
        self._delayed: set[AcceptedSocket] = set()

    def admit(self, accepted: AcceptedSocket) -> bool:
        """See ``serving_chain.Gate``."""
        self._gauge.value += 1
        if self._active < self._config.max_connections:
            self._active += 1
            return True
        self._limited.value += 1
        delay = self._config.delay
        if delay and len(self._delayed) < MAX_DELAYED:
            self._delayed.add(accepted)
            self._reactor.call_later(delay, lambda: self._end(accepted, delay))
        else:
            self._end(accepted, 0.0)
        return False

    def connection_closed(self) -> None:
        """See ``serving_chain.Gate``."""
        self._active -= 1
        self._gauge.value -= 1

    def close(self) -> None:
        """Close the connections that are held."""
        for accepted in list(self._delayed):
            self._end(accepted, self._config.delay)

    def _end(self, accepted: AcceptedSocket, seconds: float) -> None:
        if self._config.delay and seconds and accepted not in self._delayed:
            return  # closed meanwhile
        self._delayed.discard(accepted)
        self._gauge.value -= 1
        self._reactor.close(accepted.sock)
        self._refused(seconds, partial(accepted_info, accepted))
