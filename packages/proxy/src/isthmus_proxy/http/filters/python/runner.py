"""Runs hooks: plain ones at once or in threads, asynchronous ones as trio tasks, each with its limits and its accounting.

A hook that waits ends for its request when its deadline passes, whether or not its code takes notice of the cancellation:
what it does from then on is ignored, though it counts as active until it really ends. Plain hooks that run at once cannot be
interrupted; those that are slow several times in a row are moved into a thread of their own.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio

from isthmus_proxy.http.filters.python.failures import FailureLog
from isthmus_proxy.http.filters.python.stats import PythonFilterStats
from isthmus_proxy.http.filters.stream_filter import FilterContext
from isthmus_proxy.reactor.timers import Timer

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.python.config import Limits

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy thread of a filter has to let the reactor run again (Python's default is ten times that)."""


class Failed:
    """The outcome of a hook that failed; ``details`` say how."""

    __slots__ = ("details",)

    def __init__(self, details: str) -> None:
        self.details = details


ERROR: Final = Failed("python_filter_error")
TIMEOUT: Final = Failed("python_filter_timeout")
OVERFLOW: Final = Failed("python_filter_overflow")


class Hook:
    """A hook that a filter overrides. ``waits``: it is asynchronous."""

    __slots__ = ("function", "name", "waits")

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name
        self.waits = inspect.iscoroutinefunction(function)


class Call:
    """A hook that is waiting or runs in a thread. ``over``: nobody asks for its outcome any more."""

    __slots__ = ("_scope", "_timer", "_told", "over")

    def __init__(self, told: Callable[[object], None]) -> None:
        self._told = told
        self._scope = trio.CancelScope()
        self._timer: Timer | None = None
        self.over = False

    @property
    def scope(self) -> trio.CancelScope:
        """What cancels its task."""
        return self._scope

    def limit(self, timer: Timer) -> None:
        """The timer that ends it."""
        self._timer = timer

    def end(self, outcome: object) -> None:
        """Tell the outcome, unless it is over."""
        if not self.over:
            self.abandon()
            self._told(outcome)

    def abandon(self) -> None:
        """Ask for the outcome no more."""
        self.over = True
        self._scope.cancel()
        if self._timer is not None:
            self._timer.discard()


class Runner:
    """Runs the hooks of one filter."""

    __slots__ = ("_context", "_failures", "_limiter", "_limits", "_reactor", "_slow_in_a_row", "stats", "threads")

    def __init__(self, limits: Limits, context: FilterContext, stats: PythonFilterStats, failures: FailureLog) -> None:
        self._limits = limits
        self._context = context
        self._reactor = context.surroundings.reactor
        self._failures = failures
        self._slow_in_a_row = 0
        self._limiter: trio.CapacityLimiter | None = None
        self.stats = stats
        self.threads = False
        if limits.threads:
            self._use_threads(limits.threads)

    def _use_threads(self, count: int) -> None:
        self.threads = True
        self._limiter = trio.CapacityLimiter(count)
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))

    def run(self, hook: Hook, args: tuple[object, ...], told: Callable[[object], None]) -> object | Call:
        """The hook's outcome, ``Failed`` if it failed, or the call that is going on, which tells its outcome later."""
        stats = self.stats
        stats.calls.value += 1
        if hook.waits or self.threads:
            return self._begin(hook, args, told)
        started = perf_counter()
        outcome: object
        try:
            outcome = hook.function(*args)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it ends here
            outcome = self._error(hook, error)
        self._took(hook, perf_counter() - started)
        return outcome

    def _took(self, hook: Hook, seconds: float) -> None:
        """Account for a plain hook that ran at once; the reactor stood still meanwhile."""
        self.stats.call_time.record(seconds * 1000.0)
        limits = self._limits
        if seconds < limits.slow:
            self._slow_in_a_row = 0
            return
        self.stats.slow.value += 1
        self._slow_in_a_row += 1
        self._failures.tell(hook.name, f"held the worker up for {seconds * 1000.0:.0f} ms", self._reactor.now)
        if self._slow_in_a_row == limits.demote_after:
            self.stats.demoted.value = 1
            self._use_threads(1)

    def _error(self, hook: Hook, error: BaseException) -> Failed:
        self.stats.errors.value += 1
        self._failures.tell(hook.name, "failed", self._reactor.now, error)
        return ERROR

    def misused(self, outcome: object) -> Failed:
        """A hook answered what no hook may."""
        if inspect.iscoroutine(outcome):
            outcome.close()
        self.stats.errors.value += 1
        self._failures.tell("a hook", f"answered {type(outcome).__name__}, which is no answer", self._reactor.now)
        return ERROR

    def _begin(self, hook: Hook, args: tuple[object, ...], told: Callable[[object], None]) -> object | Call:
        stats = self.stats
        if stats.active.value >= self._limits.max_active:
            stats.overflow.value += 1
            self._failures.tell(hook.name, "was not called: too many calls are going on", self._reactor.now)
            return OVERFLOW
        stats.active.value += 1
        call = Call(told)
        call.limit(self._reactor.call_later(self._limits.timeout, lambda: self._timed_out(hook, call)))
        self._context.start_soon(self._task, hook, args, call)
        return call

    def _timed_out(self, hook: Hook, call: Call) -> None:
        if not call.over:
            self.stats.timeouts.value += 1
            self._failures.tell(hook.name, f"took longer than {self._limits.timeout:g} s", self._reactor.now)
            call.end(TIMEOUT)

    async def _task(self, hook: Hook, args: tuple[object, ...], call: Call) -> None:
        outcome: object = TIMEOUT
        started = perf_counter()
        try:
            if not call.over:
                with call.scope:
                    outcome = await self._outcome(hook, args)
        finally:
            self.stats.active.value -= 1
        self.stats.call_time.record((perf_counter() - started) * 1000.0)
        if not call.over:
            self._reactor.call_soon(lambda: call.end(outcome))

    async def _outcome(self, hook: Hook, args: tuple[object, ...]) -> object:
        try:
            if hook.waits:
                return await hook.function(*args)
            return await trio.to_thread.run_sync(hook.function, *args, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it ends here
            return self._error(hook, error)
