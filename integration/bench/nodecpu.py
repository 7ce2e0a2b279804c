"""Processor time of several processes while something runs: the mean, and the peak over short intervals."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from bench.procstat import cpu_seconds

INTERVAL_S = 0.25


class NodeCpu:
    """Watches processes from entering the context to leaving it. ``mean`` and ``peak`` are shares of one core."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="node cpu")
        self.mean = 0.0
        self.peak = 0.0

    def __enter__(self) -> Self:
        self._begin = (time.monotonic(), cpu_seconds(self._pids))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.mean = share(self._begin, (time.monotonic(), cpu_seconds(self._pids)))

    def _watch(self) -> None:
        before = self._begin
        while not self._stop.wait(INTERVAL_S):
            now = (time.monotonic(), cpu_seconds(self._pids))
            self.peak = max(self.peak, share(before, now))
            before = now


def share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The share of one core between two readings of (time, processor time), seconds."""
    elapsed = after[0] - before[0]
    return (after[1] - before[1]) / elapsed if elapsed > 0 else 0.0
