"""Attempts that ran out of their per-try timeout and were left running beside a new one (HedgePolicy.hedge_on_per_try_timeout)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.events import Event
from isthmus_proxy.codec.http1.response import ParsedResponse

if TYPE_CHECKING:
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.upstream.pool import RequestPool, UpstreamRequest

Answered = Callable[["Rival", Sequence[Event], bool], None]
Lost = Callable[["Rival", str, str], None]


class Rival:
    """One such attempt: it hears of the response in place of the exchange, and tells ``rivals``."""

    __slots__ = ("_rivals", "connection", "endpoint", "pool")

    def __init__(
        self, rivals: Rivals, connection: UpstreamRequest, pool: RequestPool | None, endpoint: Endpoint | None
    ) -> None:
        self._rivals = rivals
        self.connection = connection
        self.pool = pool
        self.endpoint = endpoint
        connection.sink = self

    def drop(self) -> None:
        """Give the attempt up."""
        self.connection.reset(self)
        if self.pool is not None:
            self.pool.finished()

    def pool_ready(self, connection: UpstreamRequest) -> None:
        """Not used: a rival has its connection from the beginning."""

    def upstream_events(self, events: Sequence[Event], done: bool) -> None:
        """The response begins: the rivals' owner decides. Interim ones are nobody's."""
        final = [event for event in events if type(event) is not ParsedResponse or event.status >= 200]
        if final or done:
            self._rivals.answered(self, final, done)

    def upstream_reset(self, reason: str, transport: str, *, sent: bool, reused: bool) -> None:
        """The attempt is lost."""
        self._rivals.lost(self, reason, transport)

    def upstream_blocked(self) -> None:
        """Nothing more is sent on this attempt: its request was complete."""

    def upstream_writable(self) -> None:
        """See ``upstream_blocked``."""


class Rivals:
    """The rivals of one exchange, at most one for each retry. ``answered`` and ``lost`` are told of those still in it."""

    __slots__ = ("_answered", "_lost", "_running")

    def __init__(self, answered: Answered, lost: Lost) -> None:
        self._answered = answered
        self._lost = lost
        self._running: list[Rival] = []

    def __bool__(self) -> bool:  # not __len__, which does not make an object false in compiled code
        return bool(self._running)

    def add(self, connection: UpstreamRequest, pool: RequestPool | None, endpoint: Endpoint | None) -> None:
        """Leave the attempt on ``connection`` running."""
        self._running.append(Rival(self, connection, pool, endpoint))

    def answered(self, rival: Rival, events: Sequence[Event], done: bool) -> None:
        """A response came on ``rival``, which is no rival any more."""
        self._running.remove(rival)
        self._answered(rival, events, done)

    def lost(self, rival: Rival, reason: str, transport: str) -> None:
        """``rival`` is no more."""
        self._running.remove(rival)
        self._lost(rival, reason, transport)

    def drop(self) -> None:
        """Give all of them up."""
        running, self._running = self._running, []
        for rival in running:
            rival.drop()
