"""When a worker that ended is started again. Pure; times are monotonic seconds."""

from __future__ import annotations

FIRST_S, LONGEST_S = 0.5, 30.0
STEADY_S = 60.0
"""A worker that ran for so long begins anew with the shortest wait."""


class BackOff:
    """Doubles the wait with every worker that ended early."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures = 0

    def ended(self, ran_for: float) -> float:
        """Seconds to wait after a worker that ran for ``ran_for`` seconds."""
        if ran_for >= STEADY_S:
            self._failures = 0
        self._failures += 1
        return float(min(LONGEST_S, FIRST_S * 2 ** (self._failures - 1)))
