"""Delays between connection attempts: exponential, with jitter, so that a fleet does not return all at once."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 0.5
MAX_SECONDS = 30.0
"""Envoy's, where the bootstrap file names no others."""


class Backoff:
    """Each delay is random in the upper half of a bound that doubles from ``first`` to ``most`` seconds. ``random`` gives [0, 1)."""

    __slots__ = ("_bound", "_first", "_most", "_random")

    def __init__(self, random: Callable[[], float], first: float = FIRST_SECONDS, most: float = MAX_SECONDS) -> None:
        self._random = random
        self._first = first
        self._most = most
        self._bound = first

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = self._bound * (1.0 + self._random()) / 2
        self._bound = min(self._bound * 2, self._most)
        return delay

    def reset(self) -> None:
        """The server answered: start over at the next loss."""
        self._bound = self._first
