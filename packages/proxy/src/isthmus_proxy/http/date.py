"""Wall-clock time from the reactor's monotonic time, and the ``date`` header of the current second."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate


class WallClock:
    """Adds to a monotonic time the offset to wall-clock time, measured anew every second: adjustments show within one."""

    __slots__ = ("_date", "_measured_until", "_second", "_time", "offset")

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self.offset = 0.0
        self._measured_until = float("-inf")
        self._second = -1
        self._date = b""

    def at(self, now: float) -> float:
        """Wall-clock seconds at the monotonic time ``now``, which is the present."""
        if now >= self._measured_until:
            self.offset = self._time() - now
            self._measured_until = now + 1.0
        return now + self.offset

    def date(self, now: float) -> bytes:
        """The value of a ``date`` header (RFC 9110, 6.6.1)."""
        second = int(self.at(now))
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date
