"""Which of several management servers to talk to, without I/O: in the order of the configuration, each with its own back-off.

A server is given up for the next one after as many attempts in a row without any answer as it has addresses, two at least; the
last one is followed by the first. A stream that answered is kept as long as it lives, and its end makes the first server the
next to be tried: the order is one of preference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isthmus_proxy.xds.backoff import Backoff

MIN_ATTEMPTS = 2
"""One attempt fails of a server that is just being restarted."""


@dataclass(frozen=True, slots=True)
class Server:
    """A management server: the static cluster that holds its addresses, and the pauses between attempts at it."""

    cluster: str
    backoff: Backoff


class Servers:
    """See the module. ``addresses`` counts those of a cluster at the moment."""

    __slots__ = ("_addresses", "_answered", "_attempts", "_index", "_last", "_servers")

    def __init__(self, servers: tuple[Server, ...], addresses: Callable[[str], int]) -> None:
        self._servers = servers
        self._addresses = addresses
        self._index = 0
        self._attempts = 0  # in a row at the current server, without an answer
        self._answered = False
        self._last: int | None = None  # the server that answered last

    @property
    def current(self) -> Server:
        """The server to try, or that the stream is of."""
        return self._servers[self._index]

    @property
    def is_first(self) -> bool:
        """Whether ``current`` is the one that is preferred."""
        return self._index == 0

    @property
    def strange(self) -> bool:
        """Whether another server answered last: what its versions mean, this one need not know."""
        return self._last is not None and self._last != self._index

    @property
    def attempts_at_all(self) -> int:
        """Attempts after which every address of every server was tried, from the start."""
        *before, last = self._servers
        return sum(self._patience(server) for server in before) + self._addresses(last.cluster)

    def answered(self) -> bool:
        """The current server has sent something. Returns whether another one did before."""
        strange = self.strange
        self._answered = True
        self._last = self._index
        self.current.backoff.reset()
        return strange

    def failed(self) -> float:
        """The stream ended, or none could be had. Returns seconds to wait before the next attempt, at ``current``."""
        delay = self.current.backoff.next_delay()
        if self._answered:
            self._index = self._attempts = 0
            self._answered = False
            return delay
        self._attempts += 1
        if self._attempts >= self._patience(self.current):
            self._attempts = 0
            self._index = (self._index + 1) % len(self._servers)
        return delay

    def _patience(self, server: Server) -> int:
        return max(MIN_ATTEMPTS, self._addresses(server.cluster))
