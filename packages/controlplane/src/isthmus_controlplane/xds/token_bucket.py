"""A limit on how often something may begin. Pure: the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Allows a number at once, and then a rate; both may change between calls."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Start full.

        Args:
            now: monotonic seconds.
        """
        self._now = now
        self._tokens: float | None = None  # full
        self._since = 0.0

    def take(self, rate: float, burst: int) -> bool:
        """Take a token if there is one; a rate of 0 allows everything."""
        now = self._now()
        if not rate:
            self._tokens = None
            return True
        tokens = burst if self._tokens is None else min(float(burst), self._tokens + (now - self._since) * rate)
        self._since = now
        self._tokens = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1
