"""Lines of one log between the reactor, which adds them, and the task that writes them: bounded, and counted."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.observe.stats import Scope


class LineBuffer:
    """``write`` never blocks: beyond ``limit`` bytes it drops lines and counts them.

    ``first`` is called when a line comes into the empty buffer, ``full`` once ``flush`` bytes wait to be taken. What was taken
    counts against the limit until it is ``written``.
    """

    __slots__ = (
        "_buffered", "_bytes", "_dropped", "_first", "_flush", "_full", "_limit", "_lines", "_told", "waiting",
    )  # fmt: skip

    def __init__(
        self, limit: int, flush: int, stats: Scope, dropped: Scope, first: Callable[[], None], full: Callable[[], None]
    ) -> None:
        self._limit = limit
        self._flush = flush
        self._first = first
        self._full = full
        self._lines: list[bytes] = []
        self._told = False
        self.waiting = 0
        self._buffered = stats.counter("write_buffered")
        self._bytes = stats.gauge("write_total_buffered")
        self._dropped = dropped.counter("write_dropped")

    @property
    def empty(self) -> bool:
        """Whether no line waits to be taken."""
        return not self._lines

    def write(self, line: bytes) -> None:
        """Add one line, with its newline."""
        size = len(line)
        waiting = self.waiting + size
        if waiting > self._limit:
            self._dropped.value += 1
            return
        self.waiting = waiting
        self._lines.append(line)
        self._buffered.value += 1
        self._bytes.value += size
        if waiting == size:
            self._first()
        elif waiting >= self._flush and not self._told:
            self._told = True
            self._full()

    def take(self) -> list[bytes]:
        """All lines, which are the caller's from now on."""
        lines, self._lines = self._lines, []
        self._told = False
        return lines

    def written(self, size: int) -> None:
        """``size`` bytes of what was taken are written, or lost: there is room again."""
        self.waiting -= size
        self._bytes.value -= size
        if self._lines:
            self._first()
            if self.waiting >= self._flush:
                self._full()
