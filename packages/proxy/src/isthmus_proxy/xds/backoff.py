"""Delays between connection attempts: exponential, with jitter, so that a fleet does not return all at once."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 0.5
MAX_SECONDS = 30.0


class Backoff:
    """Each delay is random in the upper half of a bound that doubles from 0.5 s to 30 s. ``random`` gives [0, 1)."""

    __slots__ = ("_bound", "_random")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._bound = FIRST_SECONDS

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = self._bound * (1.0 + self._random()) / 2
        self._bound = min(self._bound * 2, MAX_SECONDS)
        return delay

    def reset(self) -> None:
        """The server answered: start over at the next loss."""
        self._bound = FIRST_SECONDS
