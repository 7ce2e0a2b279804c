"""The start-up barrier: services are withheld until every source was listed once, or had its time to be.

A sink such as istiod deletes what is absent from a response, so a bridge that has only just started must not answer
with the half that it knows already.
"""

from __future__ import annotations

from collections.abc import Mapping


class Barrier:
    """Opens once and stays open. Times are seconds of any monotonic clock."""

    def __init__(self, deadlines: Mapping[str, float]) -> None:
        """``deadlines`` holds, for each source, the time after which it is not waited for any longer."""
        self._waiting = dict(deadlines)

    def complete(self, source: str) -> None:
        """The source was listed completely."""
        self._waiting.pop(source, None)

    def waiting_for(self, now: float) -> list[str]:
        """The sources that keep the barrier closed; none means open."""
        return sorted(name for name, deadline in self._waiting.items() if deadline > now)

    def next_deadline(self, now: float) -> float | None:
        """When ``waiting_for`` changes without an event; None when it does not."""
        return min((deadline for deadline in self._waiting.values() if deadline > now), default=None)
