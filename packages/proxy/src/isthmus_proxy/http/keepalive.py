"""Keep-alive pings of an HTTP/2 connection (core.v3.KeepaliveSettings)."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.reactor.reactor import Reactor


class Keepalive:
    """Pings every ``interval`` seconds, and fails when nothing came in for ``timeout`` after a ping.

    With a ``greeting`` it fails also when nothing came in for so many seconds from its beginning.
    """

    __slots__ = ("_failed", "_interval", "_ping", "_reactor", "_timeout", "_timer", "_waiting")

    def __init__(
        self,
        reactor: Reactor,
        interval: float,
        timeout: float,
        ping: Callable[[], None],
        failed: Callable[[], None],
        greeting: float = 0.0,
    ) -> None:
        self._reactor = reactor
        self._interval = interval
        self._timeout = timeout
        self._ping = ping
        self._failed = failed
        self._waiting = greeting > 0
        self._timer = reactor.timer(self._due)
        self._timer.set(reactor.now + (greeting or interval))

    def heard(self) -> None:
        """The peer is alive."""
        if self._waiting:
            self._waiting = False
            self._timer.set(self._reactor.now + self._interval)

    def stop(self) -> None:
        """The connection is gone."""
        self._timer.discard()

    def _due(self) -> None:
        if self._waiting:
            self._failed()
            return
        self._waiting = True
        self._ping()
        self._timer.set(self._reactor.now + self._timeout)
