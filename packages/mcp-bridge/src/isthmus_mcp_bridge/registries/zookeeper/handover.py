"""Carries notices from the ZooKeeper client's threads into the event loop.

It is bounded and coalesces: a path that changed ten times is one path, and past the bound it only says "list everything
again". So a burst of events neither grows memory nor keeps the client's threads waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading

MAX_PATHS = 4096
"""Beyond this many changed paths a full listing costs about the same as reading each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Notices:
    """What happened since the last ``wait``.

    ``interrupted`` says that the connection was gone for a while, even if it is back: watches may have been lost.
    """

    connected: bool
    interrupted: bool
    overflowed: bool
    paths: frozenset[str]


class HandOver:
    """Filled from any thread, emptied by one task of the loop in which it was made."""

    def __init__(self, limit: int = MAX_PATHS) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._lock = threading.Lock()
        self._filled = asyncio.Event()
        self._paths: set[str] = set()
        self._connected = False
        self._interrupted = False
        self._overflowed = False
        self._announced = False
        self.overflows = 0
        """How often there were more changed paths than the bound."""

    def path_changed(self, path: str) -> None:
        """Any thread: a watch on the path fired."""
        with self._lock:
            if len(self._paths) < self._limit:
                self._paths.add(path)
            elif path not in self._paths and not self._overflowed:
                self._overflowed = True
                self.overflows += 1
            self._announce()

    def connection_changed(self, connected: bool) -> None:
        """Any thread: there is a usable session, or there is none at the moment."""
        with self._lock:
            self._connected = connected
            self._interrupted = self._interrupted or not connected
            self._announce()

    async def wait(self, timeout_s: float) -> Notices:
        """What happened, as soon as something did, or nothing after ``timeout_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 may swallow a cancellation
                await self._filled.wait()
        with self._lock:
            notices = Notices(self._connected, self._interrupted, self._overflowed, frozenset(self._paths))
            self._paths.clear()
            self._interrupted = self._overflowed = self._announced = False
            self._filled.clear()
        return notices

    def _announce(self) -> None:
        """Wake the loop, once until it has come (the lock is held)."""
        if not self._announced:
            self._announced = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._filled.set)
