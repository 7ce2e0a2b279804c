"""Wall-clock times in access logs: Envoy's default ISO form, and strftime with fractions (``%3f``, ``%E3S``, ``%s``)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

_FRACTION = re.compile(r"%(?:([1-9]?)f|E([1-9])S|(s))")


class IsoTime:
    """``2026-11-23T19:07:08.228Z``. Remembered are the last time, which a batch shares, and its part up to the second."""

    __slots__ = ("_last", "_second", "_seconds", "_text")

    def __init__(self) -> None:
        self._seconds = -1.0
        self._last = ""
        self._second = -1
        self._text = ""

    def __call__(self, seconds: float) -> str:
        """Render seconds since the epoch, in UTC."""
        if seconds == self._seconds:
            return self._last
        self._seconds = seconds
        milliseconds = int(seconds * 1000.0)
        second, fraction = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._last = f"{self._text}.{fraction:03d}Z"
        return self._last


def compile_time(pattern: str, *, local: bool) -> Callable[[float], str]:
    """A renderer of seconds since the epoch by ``pattern`` (strftime; empty = ISO with milliseconds)."""
    if not pattern:
        if not local:
            return IsoTime()
        pattern = "%Y-%m-%dT%H:%M:%E3S%z"
    broken_down = time.localtime if local else time.gmtime

    def render(seconds: float) -> str:
        nanoseconds = int(seconds * 1e6) * 1000
        second, fraction = divmod(nanoseconds, 1_000_000_000)
        digits = f"{fraction:09d}"
        filled = _FRACTION.sub(lambda found: _fraction(found, second, digits), pattern)
        return time.strftime(filled, broken_down(second))

    return render


def _fraction(found: re.Match[str], second: int, digits: str) -> str:
    width, seconds_width, epoch = found.groups()
    if epoch is not None:
        return str(second)
    if seconds_width is not None:
        return f"%S.{digits[: int(seconds_width)]}"
    return digits[: int(width or 9)]
