"""Wall-clock time from the reactor's monotonic time, and the ``date`` header of the current second."""

from __future__ import annotations

import time
from collections.abc import Callable

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: int) -> bytes:
    """``Sun, 06 Nov 1994 08:49:37 GMT`` for seconds since the epoch (RFC 9110, 5.6.7); Python's ``email`` would cost 0.3 MB."""
    then = time.gmtime(seconds)
    day, month = _DAYS[then.tm_wday], _MONTHS[then.tm_mon - 1]
    clock = f"{then.tm_hour:02d}:{then.tm_min:02d}:{then.tm_sec:02d}"
    return f"{day}, {then.tm_mday:02d} {month} {then.tm_year:04d} {clock} GMT".encode()


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
            self._date = http_date(second)
        return self._date
