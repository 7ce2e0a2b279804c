"""The reactor: every data-path socket of the process in one epoll set, served in batches by one trio task.

An epoll descriptor is itself pollable, so trio waits for the whole set as for one descriptor. When it is readable the
reactor serves what is ready with plain callbacks, then sends what they wrote, one ``send`` a peer, and polls again until
nothing is ready or its time slice is used up; then trio's other tasks get their turn. Deadlines are the deadline of the
cancel scope around the wait, so an idle process is woken by nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from isthmus_proxy.reactor.splice import Pipes
from isthmus_proxy.reactor.timers import NEVER, Timer, TimerQueue

_log = logging.getLogger(__name__)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ERROR = select.EPOLLERR
HANGUP = select.EPOLLHUP

MAX_EVENTS = 64
"""Events served between two flushes: small enough that the first reply of a batch does not wait long for the last."""

TIME_SLICE = 0.004
"""Seconds of serving after which trio's other tasks (xDS, admin, DNS) get a turn even under full load."""

LINGER = 0.001
"""Seconds to wait for more in the epoll set itself before waiting through trio, which costs a cycle of trio's loop.

An endpoint mostly answers, and a client that waits for it asks again, within that time. It is the least that epoll knows.
"""


class Flushable(Protocol):
    """What may have output at the end of a batch."""

    def flush(self) -> None:
        """Send what is pending; never raises."""


@dataclass(frozen=True, slots=True)
class ReactorStatistics:
    """A reading of the reactor's counters. Lag is in seconds: how late the latest timer ran, how long the longest slice took."""

    descriptors: int
    timers: int
    batches: int
    events: int
    handler_errors: int
    longest_slice: float
    timer_lag: float


class Reactor:
    """See the module. Create it inside ``trio.run``; every method is called from trio's thread.

    ``now`` is the clock's time (trio's clock unless given) as of the current batch: what the data path takes for the time.
    ``busy_poll`` is for how many seconds after the last event to ask for more without sleeping (0: not at all).
    """

    __slots__ = (
        "_busy_until",
        "_clock",
        "_closing",
        "_dirty",
        "_epoll",
        "_handlers",
        "_scope",
        "_serving",
        "_soon",
        "_timers",
        "_wake_fd",
        "batches",
        "busy_poll",
        "events",
        "handler_errors",
        "longest_slice",
        "now",
        "pipes",
        "timer_lag",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float] = trio.current_time, busy_poll: float = 0.0) -> None:
        self._clock = clock
        self.busy_poll = busy_poll
        self._busy_until = 0.0
        self.now = clock()
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers = TimerQueue(self._deadline_moved)
        self._soon: deque[Callable[[], None]] = deque()
        self._dirty: list[Flushable] = []
        self._closing: list[socket.socket] = []
        self.pipes = Pipes()
        self._serving = False
        self._scope: trio.CancelScope | None = None
        self.batches = 0
        self.events = 0
        self.handler_errors = 0
        self.longest_slice = 0.0
        self.timer_lag = 0.0
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.register(self._wake_fd, READ, self._woken)

    def register(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call ``handler(mask)`` whenever ``fd`` is ready for ``events`` (level-triggered; errors are always reported)."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        """Change what ``fd`` waits for."""
        self._epoll.modify(fd, events)

    def set_handler(self, fd: int, handler: Callable[[int], None]) -> None:
        """Hand a registered ``fd`` over to another handler."""
        self._handlers[fd] = handler

    def unregister(self, fd: int) -> None:
        """Forget ``fd``: its handler is not called again, not even for events of the batch being served."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Unregister and close ``sock``, the latter at the end of the batch: no number is reused while events name it."""
        self.unregister(sock.fileno())
        if self._epoll.closed:
            sock.close()
            return
        self._closing.append(sock)
        if not self._serving:
            self.wake()

    def flush_later(self, connection: Flushable) -> None:
        """Flush ``connection`` at the end of the batch."""
        self._dirty.append(connection)
        if not self._serving:
            self.wake()

    def refresh(self) -> None:
        """Bring ``now`` up to date for one of trio's tasks that calls into the data path; nothing happens within a batch."""
        if not self._serving:
            self.now = self._clock()

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A timer of this reactor, not yet set."""
        return Timer(self._timers, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once, in ``delay`` seconds."""
        timer = Timer(self._timers, callback)
        timer.set(self._time() + delay)
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the next batch."""
        self._soon.append(callback)
        if not self._serving:
            self.wake()

    def wake(self) -> None:
        """Make the reactor run a batch although no socket is ready. One that has ended is not woken by what ends after it."""
        if not self._epoll.closed:
            os.eventfd_write(self._wake_fd, 1)

    def statistics(self) -> ReactorStatistics:
        """The counters as they are now."""
        return ReactorStatistics(
            descriptors=len(self._handlers) - 1,
            timers=len(self._timers),
            batches=self.batches,
            events=self.events,
            handler_errors=self.handler_errors,
            longest_slice=self.longest_slice,
            timer_lag=self.timer_lag,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then close everything that is still registered."""
        wait_readable, fd = trio.lowlevel.wait_readable, self._epoll.fileno()
        task_status.started()
        try:
            while True:
                with trio.CancelScope(deadline=self._timers.next_deadline()) as self._scope:
                    while True:
                        if self._busy_until > self._clock():
                            await trio.lowlevel.checkpoint()
                        else:
                            await wait_readable(fd)
                        self.serve()
                self.serve()
        finally:
            self._scope = None
            self._shut()

    def serve(self) -> None:
        """Serve what is ready, in batches, until nothing has been for a moment or the time slice is over."""
        self._serving = True
        clock = self._clock
        self.now = now = started = clock()
        end = now + TIME_SLICE
        events = self._epoll.poll(0, MAX_EVENTS) or self._poll_busily(end)
        self.now = now = clock()
        while events or self._soon:
            if self.busy_poll:
                self._busy_until = now + self.busy_poll
            self._batch(events)
            events = self._poll_again(end)
            self.now = now = clock()
            if now > end:
                break
        # The last events are served even when the slice is over; without any, timers are still looked at.
        self._batch(events)
        self.now = now
        self._serving = False
        self.longest_slice = max(self.longest_slice, now - started)
        if self._soon or self._dirty or self._closing:
            self.wake()

    def _poll_again(self, end: float) -> list[tuple[int, int]]:
        """What is ready within a moment."""
        if self._soon:
            return self._epoll.poll(0, MAX_EVENTS)
        if self.busy_poll:
            return self._poll_busily(end)
        return self._epoll.poll(LINGER, MAX_EVENTS)

    def _poll_busily(self, end: float) -> list[tuple[int, int]]:
        """What is ready before the busy time or the time slice is over, without sleeping."""
        poll, clock = self._epoll.poll, self._clock
        until = min(self._busy_until, end)
        while not self._soon and clock() < until:
            events = poll(0, MAX_EVENTS)
            if events:
                return events
        return []

    def _batch(self, events: list[tuple[int, int]]) -> None:
        self.batches += 1
        self.events += len(events)
        self._dispatch(events)
        if self._timers.next_deadline() <= self.now:
            self._run_timers()
        if self._soon:
            self._run_soon()
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                connection.flush()
        if self._closing:
            closing, self._closing = self._closing, []
            for sock in closing:
                sock.close()

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        remaining = iter(events)
        handler_of = self._handlers.get
        fd = -1
        while True:
            try:
                for fd, mask in remaining:
                    handler = handler_of(fd)
                    if handler is not None:
                        handler(mask)
                return
            except Exception:  # noqa: BLE001 - a fault in serving one connection must not end the others
                self._failed(fd)

    def _failed(self, fd: int) -> None:
        """Stop serving the descriptor whose handler raised: its state is not to be trusted. The peer sees an end."""
        self.handler_errors += 1
        _log.exception("handler of descriptor %d failed; its connection is shut down", fd)
        owner = getattr(self._handlers.get(fd), "__self__", None)
        # Whose method is a handler may have a method ``faulted``, to end and to account for it like for any other end.
        faulted = getattr(owner, "faulted", None)
        self.unregister(fd)
        if faulted is not None:
            try:
                faulted()
            except Exception:  # noqa: BLE001 - as in _dispatch
                _log.exception("the end of the connection on descriptor %d failed, too", fd)
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    def _run_timers(self) -> None:
        try:
            self.timer_lag = max(self.timer_lag, self._timers.run_due(self.now))
        except Exception:  # noqa: BLE001 - as in _dispatch
            self.handler_errors += 1
            _log.exception("a timer's callback failed")

    def _run_soon(self) -> None:
        for _ in range(len(self._soon)):
            callback = self._soon.popleft()
            try:
                callback()
            except Exception:  # noqa: BLE001 - as in _dispatch
                self.handler_errors += 1
                _log.exception("a callback failed")

    def _time(self) -> float:
        return self.now if self._serving else self._clock()

    def _deadline_moved(self, at: float) -> None:
        if self._scope is not None and at < self._scope.deadline:
            self._scope.deadline = at

    def _woken(self, _mask: int) -> None:
        os.eventfd_read(self._wake_fd)

    def _shut(self) -> None:
        for sock in self._closing:
            sock.close()
        self._closing.clear()
        self._handlers.clear()
        self.pipes.close()
        self._epoll.close()
        os.close(self._wake_fd)


__all__ = ["ERROR", "HANGUP", "NEVER", "READ", "WRITE", "Flushable", "Reactor", "ReactorStatistics", "Timer"]
