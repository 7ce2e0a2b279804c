"""How long a client's HTTP/1.1 connection may last (HttpProtocolOptions.max_connection_duration)."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.reactor.reactor import Reactor

_AGAIN_S = 1.0
"""How often an old connection looks whether the request that is coming in is complete."""


class MaxDuration:
    """Counts ``reached`` once after ``seconds``, then asks ``retire`` again and again until it answers True."""

    __slots__ = ("_reached", "_reactor", "_retire", "_timer")

    def __init__(self, reactor: Reactor, seconds: float, reached: Counter, retire: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._reached = reached
        self._retire = retire
        self._timer = reactor.call_later(seconds, self._over)

    def _over(self) -> None:
        self._reached.value += 1
        self._look()

    def _look(self) -> None:
        if not self._retire():
            self._timer = self._reactor.call_later(_AGAIN_S, self._look)

    def discard(self) -> None:
        """The connection is gone."""
        self._timer.discard()
