"""Waiting in tests: poll until something holds, with a deadline that only a broken program reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 20.0
_POLL_S = 0.01


async def eventually(holds: Callable[[], object], what: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Return once ``holds()`` is true; fail with what there is instead (``what()``) after ``within_s`` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not holds():
        if loop.time() > deadline:
            raise AssertionError(f"did not come true within {within_s:g} s; there is {what()!r}")
        await asyncio.sleep(_POLL_S)
