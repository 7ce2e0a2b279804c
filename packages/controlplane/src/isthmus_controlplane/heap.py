"""Keeps Python's cyclic garbage collector from walking over all clients and resources again and again.

A full collection looks at every object that lives: about half a second with 10,000 clients, in which nobody is served. What
streams and configuration are made of lives long and is freed by reference counts, so it is set apart (`gc.freeze`). Cycles
among it are freed when so many streams have ended that the pause is worth it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

LOOK_EVERY_S = 1.0
SETTLE_AFTER_STREAMS = 250
THAW_AFTER_STREAMS = 2_000


class Heap:
    """Decides when to set objects apart, from the number of streams so far and now."""

    def __init__(self) -> None:
        self._started = 0
        self._ended = 0

    def look(self, started: int, open_now: int) -> None:
        """Act on the number of streams that were ever started and of those that are open."""
        ended = started - open_now
        if ended - self._ended >= max(THAW_AFTER_STREAMS, open_now // 2):
            gc.unfreeze()
            gc.collect()
        elif started - self._started < SETTLE_AFTER_STREAMS:
            return
        else:
            gc.collect(1)
            ended = self._ended
        gc.freeze()
        self._started, self._ended = started, ended


async def settle(started: Callable[[], int], open_now: Callable[[], int]) -> None:
    """Look after the heap until cancelled."""
    gc.collect()
    gc.freeze()
    heap = Heap()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        heap.look(started(), open_now())
