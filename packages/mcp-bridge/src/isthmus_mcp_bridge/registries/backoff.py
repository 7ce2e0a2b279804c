"""Waiting times between attempts to reach a registry."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.2
LONGEST_S = 10.0


class Backoff:
    """Doubles from 0.2 s to 10 s; each wait is shortened by up to half at random so that replicas spread out."""

    def __init__(self, random: Callable[[], float]) -> None:
        """``random`` gives numbers in [0, 1)."""
        self._random = random
        self._next = FIRST_S

    def delay(self) -> float:
        """Seconds to wait before the next attempt."""
        ceiling = self._next
        self._next = min(self._next * 2, LONGEST_S)
        return ceiling * (1 - self._random() / 2)

    def reset(self) -> None:
        """An attempt succeeded."""
        self._next = FIRST_S
