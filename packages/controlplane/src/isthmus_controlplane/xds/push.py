"""How long each push takes until every client acknowledged it. Pure: both clocks are passed in."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable

from isthmus_controlplane.xds.watch import Progress

# Enough for status pages; a push that is still open when that many newer ones came counts as superseded.
RECENT_PUSHES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class PushStatus:
    """One push of new configuration, as far as it got.

    Attributes:
        id: number of the push, growing.
        cause: what was changed, in words.
        started_at: seconds since the epoch.
        clients: streams connected when it started whose scope it concerns.
        touched: how many of them were sent something since.
        acknowledged: how many of those acknowledged all of it.
        rejected: how many of those rejected some of it.
        gone: how many of those closed their stream first.
        converged_after: seconds until the last of them answered or left; None while some have not.
    """

    id: int
    cause: str
    started_at: float
    clients: int
    touched: int
    acknowledged: int
    rejected: int
    gone: int
    converged_after: float | None

    @property
    def accepted(self) -> bool:
        """Whether every client that was sent something has acknowledged it."""
        return self.converged_after is not None and not self.rejected


@dataclasses.dataclass(slots=True)
class _Push:
    id: int
    cause: str
    started_at: float
    started: float
    clients: int
    waiting: set[int]
    touched: set[int] = dataclasses.field(default_factory=set)
    acknowledged: int = 0
    rejected: int = 0
    gone: int = 0
    converged_after: float | None = None

    def status(self) -> PushStatus:
        return PushStatus(
            self.id,
            self.cause,
            self.started_at,
            self.clients,
            len(self.touched),
            self.acknowledged,
            self.rejected,
            self.gone,
            self.converged_after,
        )


class PushLog:
    """The latest pushes, and who has yet to answer each of them.

    Attributes:
        total: pushes started so far; also the id of the newest.
    """

    def __init__(
        self, *, now: Callable[[], float], wall_clock: Callable[[], float], on_converged: Callable[[PushStatus], None]
    ) -> None:
        """Start an empty log.

        Args:
            now: monotonic seconds.
            wall_clock: seconds since the epoch.
            on_converged: told once per push, when its last client answered or left.
        """
        self.total = 0
        self._now = now
        self._wall_clock = wall_clock
        self._on_converged = on_converged
        self._pushes: collections.deque[_Push] = collections.deque()
        self._unfinished: dict[int, _Push] = {}

    def start(self, cause: str, waiting: Iterable[int], clients: int | None = None) -> int:
        """Open a push; returns its id.

        Args:
            cause: what was changed, in words.
            waiting: clients that may have to be told something.
            clients: how many it concerns in all, where more are in step with it already.
        """
        self.total += 1
        open_for = set(waiting)
        count = len(open_for) if clients is None else clients
        push = _Push(self.total, cause, self._wall_clock(), self._now(), count, open_for)
        self._pushes.append(push)
        self._unfinished[push.id] = push
        if len(self._pushes) > RECENT_PUSHES:
            self._unfinished.pop(self._pushes.popleft().id, None)
        self._check(push)
        return push.id

    def waiting(self) -> frozenset[int]:
        """Return the clients that have yet to answer one of the latest pushes."""
        return frozenset().union(*(push.waiting for push in self._unfinished.values()))

    def recent(self) -> tuple[PushStatus, ...]:
        """Return the latest pushes, oldest first."""
        return tuple(push.status() for push in self._pushes)

    def note_sent(self, client: int) -> None:
        """Record that a client is being told something."""
        for push in self._open(client):
            push.touched.add(client)

    def note_progress(self, client: int, progress: Callable[[int], Progress]) -> None:
        """Look how far a client is with every push that waits for it."""
        for push in self._open(client):
            match progress(push.id):
                case Progress.ACKNOWLEDGED:
                    push.acknowledged += client in push.touched
                case Progress.REJECTED:
                    push.rejected += client in push.touched
                case Progress.PENDING:
                    continue
            push.waiting.discard(client)
            self._check(push)

    def note_gone(self, client: int) -> None:
        """Stop waiting for a client that left."""
        for push in self._open(client):
            push.gone += client in push.touched
            push.waiting.discard(client)
            self._check(push)

    def _open(self, client: int) -> list[_Push]:
        return [push for push in self._unfinished.values() if client in push.waiting]

    def _check(self, push: _Push) -> None:
        if not push.waiting and push.converged_after is None:
            push.converged_after = self._now() - push.started
            self._unfinished.pop(push.id, None)
            self._on_converged(push.status())
