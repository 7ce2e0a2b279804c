"""Waits until a burst of changes is over: a quiet period, but never longer than a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

QUIET_S = 0.1
MOST_S = 1.0


class Debounce:
    """Calls ``flush`` once per burst; belongs to one event loop."""

    def __init__(self, flush: Callable[[], None], *, quiet: float = QUIET_S, most: float = MOST_S) -> None:
        """Prepare.

        Args:
            flush: what to do once the burst is over.
            quiet: seconds without a change that end a burst.
            most: seconds after which it ends in any case.
        """
        self._flush = flush
        self._quiet = quiet
        self._most = most
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self.merged = 0  # changes that joined an earlier one

    @property
    def pending(self) -> bool:
        """Whether a burst goes on."""
        return self._timer is not None

    def touch(self) -> None:
        """Note a change."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is None:
            self._deadline = now + self._most
        else:
            self.merged += 1
            if self._timer.when() >= self._deadline:  # due anyway: moving it again and again would never end
                return
            self._timer.cancel()
        self._timer = loop.call_at(min(now + self._quiet, self._deadline), self.flush)

    def flush(self) -> None:
        """End the burst now."""
        self.cancel()
        self._flush()

    def cancel(self) -> None:
        """Forget the burst."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
