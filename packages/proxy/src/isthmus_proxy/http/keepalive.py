"""Keep-alive pings of an HTTP/2 connection (core.v3.KeepaliveSettings)."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.reactor.reactor import Reactor


class Keepalive:
    """Pings every ``keepalive_interval`` seconds, and fails when nothing came in for ``keepalive_timeout`` after a ping."""

    __slots__ = ("_failed", "_options", "_ping", "_reactor", "_timer", "_waiting")

    def __init__(
        self, reactor: Reactor, options: Http2Options, ping: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._ping = ping
        self._failed = failed
        self._waiting = False
        self._timer = reactor.timer(self._due)
        self._timer.set(reactor.now + options.keepalive_interval)

    def heard(self) -> None:
        """The peer is alive."""
        if self._waiting:
            self._waiting = False
            self._timer.set(self._reactor.now + self._options.keepalive_interval)

    def stop(self) -> None:
        """The connection is gone."""
        self._timer.discard()

    def _due(self) -> None:
        if self._waiting:
            self._failed()
            return
        self._waiting = True
        self._ping()
        self._timer.set(self._reactor.now + self._options.keepalive_timeout)
