"""When to publish: a little after the last change, but not much after the first. Pure: the time is passed in."""

from __future__ import annotations


class Debounce:
    """Waits for ``quiet_s`` without a change, at most ``longest_s`` since the first unpublished one (seconds)."""

    def __init__(self, quiet_s: float, longest_s: float) -> None:
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._first: float | None = None
        self._last = 0.0

    def changed(self, now: float) -> None:
        """Something changed."""
        self._first = now if self._first is None else self._first
        self._last = now

    def due(self) -> float | None:
        """When to publish; None while nothing changed."""
        return None if self._first is None else min(self._last + self._quiet_s, self._first + self._longest_s)

    def published(self) -> None:
        """Everything so far was published."""
        self._first = None
