"""Keeps the cyclic garbage collector away from configuration, which is large, long-lived and without cycles.

A full collection walks every tracked object; with a mesh's configuration in memory that would stop traffic for tens of
milliseconds. Frozen objects are not walked. They are still freed when the last reference goes; only cycles among them
would stay, so once in a while everything is thawed and collected.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

THRESHOLDS = (20_000, 20, 10)
"""Allocations before a young collection, and how many of those before an older one: connections leave cycles, requests do not."""
FREEZE_SECONDS = 10.0
"""Least time between two freezes: an endpoint update a second is not worth a collection each."""
THAW_FREEZES = 360
"""After so many freezes, at least an hour, everything is collected once."""


class Freezer:
    """Freezes the heap after configuration changed. ``clock`` is monotonic seconds."""

    __slots__ = ("_clock", "_frozen_at", "freezes")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._frozen_at = float("-inf")
        self.freezes = 0

    def start(self) -> None:
        """Set the thresholds and freeze what start-up made."""
        gc.set_threshold(*THRESHOLDS)
        self.changed()

    def changed(self) -> None:
        """Configuration has changed: collect what is not frozen, and freeze what is left."""
        now = self._clock()
        if now - self._frozen_at < FREEZE_SECONDS:
            return
        self._frozen_at = now
        self.freezes += 1
        if self.freezes % THAW_FREEZES == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
