"""When to publish: a little after the last change, but not much after the first. Pure: the time is passed in."""

from __future__ import annotations

from collections.abc import Iterable


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


class FairDebounce:
    """A Debounce a source, so that one that never rests delays the changes of no other one."""

    def __init__(self, sources: Iterable[str], quiet_s: float, longest_s: float) -> None:
        self._sources = {name: Debounce(quiet_s, longest_s) for name in sources}

    def changed(self, source: str, now: float) -> None:
        """Something of this source changed."""
        self._sources[source].changed(now)

    def due(self) -> float | None:
        """When to publish something; None while nothing changed."""
        return min((due for one in self._sources.values() if (due := one.due()) is not None), default=None)

    def take_due(self, now: float) -> list[str]:
        """The sources whose changes are to be published now; they count as published."""
        found = [name for name, one in self._sources.items() if (due := one.due()) is not None and due <= now]
        for name in found:
            self._sources[name].published()
        return found
