"""Waiting for a condition of the outside world: poll, with a deadline that the environment can lengthen."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.05


def patience() -> float:
    """Seconds to wait for anything that should happen: ``ISTHMUS_PATIENCE``, else 20."""
    return float(os.environ.get("ISTHMUS_PATIENCE", "20"))


def eventually(
    check: Callable[[], T | None], *, within: float | None = None, every: float = INTERVAL_S, what: str = ""
) -> T:
    """Call ``check`` until it neither raises AssertionError or OSError nor returns False or None; return its value.

    After ``within`` seconds (default: the patience) the last error is raised, or an AssertionError that names the last value
    and ``what`` was awaited.
    """
    deadline = time.monotonic() + (patience() if within is None else within)
    while True:
        try:
            value = check()
        except (AssertionError, OSError):
            if time.monotonic() >= deadline:
                raise
        else:
            if value is not None and value is not False:
                return value
            if time.monotonic() >= deadline:
                raise AssertionError(f"still {value!r} at the deadline: {what or check}")
        time.sleep(every)


async def eventually_async(
    check: Callable[[], Awaitable[T | None]], *, within: float | None = None, every: float = INTERVAL_S, what: str = ""
) -> T:
    """:func:`eventually` for a coroutine function, on asyncio."""
    deadline = time.monotonic() + (patience() if within is None else within)
    while True:
        try:
            value = await check()
        except (AssertionError, OSError):
            if time.monotonic() >= deadline:
                raise
        else:
            if value is not None and value is not False:
                return value
            if time.monotonic() >= deadline:
                raise AssertionError(f"still {value!r} at the deadline: {what or check}")
        await asyncio.sleep(every)
