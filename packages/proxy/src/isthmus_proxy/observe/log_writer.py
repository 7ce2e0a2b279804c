"""Writes log lines to one file away from the reactor, so that a stalled disk or pipe never delays a request.

Lines collect in a bounded buffer. A thread writes it once 64 KiB are there or one second after the first line came; an
idle log has no timer. While the thread is stuck, the buffer fills and further lines are dropped and counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from isthmus_proxy.observe.line_buffer import LineBuffer
from isthmus_proxy.observe.stats import Scope


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much waits for a log, and how long.

    Attributes:
        flush_bytes: Write at once when so much is pending (Envoy's file_flush_min_size_kb).
        flush_seconds: Write this long after the first pending line.
        buffer_bytes: Drop lines beyond this: at 200 bytes a line, some 20,000 requests during which the disk gave no sign of life.
        close_seconds: How long the last flush may take when the proxy stops.
    """

    flush_bytes: int = 64 * 1024
    flush_seconds: float = 1.0
    buffer_bytes: int = 4 * 1024 * 1024
    close_seconds: float = 1.0


BOUNDS = LogBounds()
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/1": 1, "/dev/fd/2": 2}


class LogWriter:
    """The buffer, and the task that empties it, of one path. ``write`` is called by the reactor and never blocks."""

    __slots__ = (
        "_bounds",
        "_buffer",
        "_closing",
        "_failed",
        "_fd",
        "_full",
        "_pending",
        "_reopen",
        "_thread",
        "_written",
        "path",
        "write",
    )

    def __init__(self, path: str, stats: Scope, dropped: Scope, bounds: LogBounds = BOUNDS) -> None:
        self.path = path
        self._bounds = bounds
        self._fd: int | None = None
        self._reopen = False
        self._closing = False
        self._pending = trio.Event()
        self._full = trio.Event()
        # A limiter of its own: a stuck disk must not use up the threads that DNS needs.
        self._thread = trio.CapacityLimiter(1)
        sizes = bounds.buffer_bytes, bounds.flush_bytes
        self._buffer = LineBuffer(*sizes, stats, dropped, self._line_came, self._much_came)
        self.write: Callable[[bytes], None] = self._buffer.write
        self._written = stats.counter("write_completed")
        self._failed = stats.counter("write_failed")

    def _line_came(self) -> None:
        self._pending.set()

    def _much_came(self) -> None:
        self._full.set()

    def reopen(self) -> None:
        """Open the path anew at the next write: the old file was rotated away."""
        self._reopen = True

    def close(self) -> None:
        """Write what is pending, then end ``run``."""
        self._closing = True
        self._pending.set()
        self._full.set()

    async def run(self) -> None:
        """Write batches until closed or cancelled; what is pending then is written if the file answers in time."""
        try:
            while not (self._closing and self._buffer.empty):
                await self._pending.wait()
                with trio.move_on_after(self._bounds.flush_seconds):
                    await self._full.wait()
                await self._flush()
        finally:
            with trio.move_on_after(self._bounds.close_seconds, shield=True):
                await self._flush()
                async with self._thread:  # a batch that the cancellation cut loose is still being written
                    pass
            if self._fd is not None and self.path not in _STANDARD:
                await trio.to_thread.run_sync(os.close, self._fd, abandon_on_cancel=True, limiter=self._thread)

    async def _flush(self) -> None:
        # A cancellation has to come before lines are taken: they would go down with it.
        await trio.lowlevel.checkpoint_if_cancelled()
        data = b"".join(self._buffer.take())
        self._pending = trio.Event()
        self._full = trio.Event()
        if self._closing:
            self._full.set()
        if not data:
            return
        try:
            await trio.to_thread.run_sync(self._write_out, data, abandon_on_cancel=True, limiter=self._thread)
            self._written.value += 1
        except OSError:
            # The lines are lost, as in Envoy; the counter tells, and the next batch tries again.
            self._failed.value += 1
        finally:
            # Only now is there room again: what the thread holds still counts against the bound.
            self._buffer.written(len(data))

    def _write_out(self, data: bytes) -> None:
        """Runs in the thread; may block for as long as the disk does."""
        if self._reopen and self._fd is not None:
            self._reopen = False
            if self.path not in _STANDARD:
                old, self._fd = self._fd, None
                os.close(old)
        if self._fd is None:
            self._fd = open_log(self.path)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def open_log(path: str) -> int:
    """A descriptor that appends to ``path``; standard output and error are used as they are.

    New files are readable by owner and group: log shippers run in the group. Raises OSError.
    """
    standard = _STANDARD.get(path)
    if standard is not None:
        (sys.stdout if standard == 1 else sys.stderr).flush()
        return standard
    return os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
