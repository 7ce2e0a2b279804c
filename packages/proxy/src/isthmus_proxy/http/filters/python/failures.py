"""Tells of hooks that failed: counted always, logged at most so many times a second."""

from __future__ import annotations

import logging
import traceback

LINES_PER_SECOND = 5


class FailureLog:
    """The log of one filter. Pure but for the logger: the time is a parameter."""

    __slots__ = ("_log", "_name", "_second", "_suppressed", "_written")

    def __init__(self, name: str, log: logging.Logger) -> None:
        self._name = name
        self._log = log
        self._second = float("-inf")
        self._written = 0
        self._suppressed = 0

    def tell(self, hook: str, what: str, now: float, error: BaseException | None = None) -> None:
        """``hook`` failed at ``now`` seconds, by ``error`` if there is one."""
        if now >= self._second + 1.0:
            self._second, self._written = now, 0
        if self._written >= LINES_PER_SECOND:
            self._suppressed += 1
            return
        self._written += 1
        suppressed, self._suppressed = self._suppressed, 0
        more = f" ({suppressed} more were not logged)" if suppressed else ""
        trace = f"\n{''.join(traceback.format_exception(error)).rstrip()}" if error is not None else ""
        self._log.error("filter %s: %s %s%s%s", self._name, hook, what, more, trace)
