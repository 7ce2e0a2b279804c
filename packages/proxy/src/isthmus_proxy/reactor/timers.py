"""Deadlines on one heap, made for timeouts that are moved far more often than they fire.

Every request moves a timeout or two and nearly none ever fires. So moving a timer to a later time, or cancelling it, only
writes a number: the old heap entry stays, and when it comes up the timer is either due, or pushed again at its true time,
or dropped. The heap therefore holds one live entry a timer; entries of discarded timers are swept out once they outnumber
the live ones, which bounds the heap at twice the number of timers in use.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

NEVER = float("inf")
_SWEEP_AT_LEAST = 64


class Timer:
    """One timeout of one owner, reusable: ``set`` moves it, ``cancel`` stops it, ``discard`` gives it up for good.

    ``at`` is the time it is due on the queue's clock (``NEVER`` = off). The hot path may write ``at`` directly when the new
    time is not before ``scheduled``, the time at which the heap looks at this timer again.
    """

    __slots__ = ("_queue", "at", "callback", "scheduled")

    def __init__(self, queue: TimerQueue, callback: Callable[[], None]) -> None:
        self._queue = queue
        self.callback: Callable[[], None] | None = callback
        self.at = NEVER
        self.scheduled = NEVER

    def set(self, at: float) -> None:
        """Make the timer due at ``at``, in place of any earlier setting."""
        self.at = at
        if at < self.scheduled:
            self._queue.push(self)

    def cancel(self) -> None:
        """Stop the timer; it may be set again."""
        self.at = NEVER

    def discard(self) -> None:
        """Stop the timer for good and let go of its owner."""
        self.at = NEVER
        if self.callback is not None:
            self.callback = None
            self._queue.discarded(self)


class TimerQueue:
    """The heap. Pure: the time is a parameter, ``on_earlier`` is told when the first deadline moved forward."""

    __slots__ = ("_heap", "_on_earlier", "_order", "_stale")

    def __init__(self, on_earlier: Callable[[float], None]) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._stale = 0
        self._on_earlier = on_earlier

    def __len__(self) -> int:
        return len(self._heap)

    def next_deadline(self) -> float:
        """When to look at the heap again; ``NEVER`` if there is nothing to look at."""
        return self._heap[0][0] if self._heap else NEVER

    def push(self, timer: Timer) -> None:
        """Enter ``timer`` at its ``at``; an entry it already has goes stale."""
        if timer.scheduled != NEVER:
            self._stale += 1
        at = timer.scheduled = timer.at
        heappush(self._heap, (at, next(self._order), timer))
        if self._heap[0][0] == at:
            self._on_earlier(at)
        self._sweep()

    def discarded(self, timer: Timer) -> None:
        """Count the entry of a timer that nobody needs any more."""
        if timer.scheduled != NEVER:
            timer.scheduled = NEVER
            self._stale += 1
            self._sweep()

    def run_due(self, now: float) -> float:
        """Call every timer due at ``now``; answer by how many seconds the latest of them is late."""
        lag = 0.0
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, timer = heappop(heap)
            if timer.scheduled != at:
                self._stale -= 1
                continue
            timer.scheduled = NEVER
            if timer.at > now:
                if timer.at != NEVER:
                    self.push(timer)
                continue
            lag = max(lag, now - timer.at)
            timer.at = NEVER
            if timer.callback is not None:
                timer.callback()
        return lag

    def _sweep(self) -> None:
        if self._stale > _SWEEP_AT_LEAST and self._stale * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].scheduled == entry[0]]
            heapify(self._heap)
            self._stale = 0
