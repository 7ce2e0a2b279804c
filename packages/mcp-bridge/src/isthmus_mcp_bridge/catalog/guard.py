"""Protection from mass removal: a registry that suddenly lost most of what it held is doubted for a while.

A registry that restarts lists itself before its applications are back; whoever believes that wipes the mesh. So a loss
of more than a share of a source's endpoints within a window is held: what was published stays. It is held for a bounded
time only, because one day everything is really gone. Pure: the time is passed in, in seconds of any monotonic clock.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class GuardLimits:
    """When a loss is doubted: more than ``max_lost_percent`` of the endpoints that stood at the start of the window, and
    at least ``min_lost`` of them, within ``window_s``. It is believed after ``hold_s`` (seconds) in any case.
    """

    max_lost_percent: float = 50.0
    min_lost: int = 20
    window_s: float = 30.0
    hold_s: float = 90.0


class RemovalGuard:
    """Counts the losses of one source and says whether to hold them."""

    __slots__ = ("_limits", "_lost", "_opened", "_stood", "deadline", "holds")

    def __init__(self, limits: GuardLimits | None) -> None:
        self._limits = limits
        self._opened: float | None = None
        self._stood = 0
        self._lost = 0
        self.deadline: float | None = None
        """When the current hold ends; None while nothing is held."""
        self.holds = 0
        """How often a loss was held."""

    def losing(self, lost: int, standing: int, now: float) -> bool:
        """An event takes ``lost`` of the ``standing`` endpoints away. Returns whether to keep them for now."""
        limits = self._limits
        if limits is None:
            return False
        if self.deadline is not None:
            return True
        if self._opened is None or now - self._opened >= limits.window_s:
            self._opened, self._stood, self._lost = now, standing, 0
        self._stood = max(self._stood, standing)
        self._lost += lost
        if not lost or self._lost < limits.min_lost or self._lost * 100 <= self._stood * limits.max_lost_percent:
            return False
        self.deadline = now + limits.hold_s
        self.holds += 1
        return True

    def ended(self) -> None:
        """Nothing is held any longer: the hold is over, or what was missing came back."""
        if self.deadline is not None:
            self.deadline = None
            self._opened = None
