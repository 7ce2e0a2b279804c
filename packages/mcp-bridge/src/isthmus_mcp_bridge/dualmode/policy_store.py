"""Keeps the last policies on disk, so that a bridge that starts without its control plane goes by them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus_mcp_bridge.dualmode.policy import Policy, PolicyError
from isthmus_mcp_bridge.dualmode.policy_book import PolicyBook
from isthmus_mcp_bridge.warm.lines import decode, encode
from isthmus_mcp_bridge.warm.replacing import replace_file

FORMAT = b"isthmus-policies-1"
FLUSH_S = 1.0
REFRESH_S = 60.0
"""How far behind the time of hearing on disk may be: what a restart adds to the age."""
MAX_BYTES = 256 * 1024 * 1024

log = logging.getLogger(__name__)


class PolicyStore:
    """One file, replaced as a whole."""

    def __init__(self, path: Path, book: PolicyBook, epoch: Callable[[], float]) -> None:
        """``epoch`` is Unix time in seconds."""
        self.failures = 0
        self._writing = threading.Lock()  # the last write may come while one is under way in a thread
        self._path = path
        self._book = book
        self._epoch = epoch
        self._written: tuple[tuple[Policy, ...], float] | None = None

    def load(self) -> bool:
        """Restore the book; False where there is nothing that can be used."""
        try:
            self._book.restore(self._read())
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, PolicyError) as error:
            log.warning("%s cannot be used (%s): starting without policies", self._path, error)
            return False
        return True

    def _read(self) -> list[Any]:
        """What was saved. Raises OSError and ValueError."""
        if self._path.stat().st_size > MAX_BYTES:
            raise ValueError(f"is bigger than {MAX_BYTES} bytes")
        head, _, line = self._path.read_bytes().partition(b"\n")
        if head != FORMAT:
            raise ValueError("is no file of this version")
        return decode(line)

    async def run(self) -> None:
        """Write what changes until cancelled; what is unwritten then is written before it goes."""
        try:
            while True:
                if self._is_due():
                    await asyncio.to_thread(self._replace, *self._state())
                await asyncio.sleep(FLUSH_S)
        finally:
            if self._book.heard_at is not None:
                self._replace(*self._state())

    def _is_due(self) -> bool:
        """Whether there are other policies, or the source was heard long after what the file says."""
        if self._book.live:
            self._book.heard(self._epoch())
        heard_at = self._book.heard_at
        if heard_at is None:
            return False
        written = self._written
        return written is None or written[0] is not self._book.policies or heard_at - written[1] >= REFRESH_S

    def _state(self) -> tuple[bytes, tuple[Policy, ...], float]:
        """What to write, and what it will have said."""
        return FORMAT + b"\n" + encode(self._book.saved()), self._book.policies, self._book.heard_at or 0.0

    def _replace(self, data: bytes, policies: tuple[Policy, ...], heard_at: float) -> None:
        with self._writing:
            try:
                replace_file(self._path, data)
                self._written = (policies, heard_at)
            except OSError as error:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        if self.failures == 1:
            log.error("%s cannot be written (%s): a restart may be without policies", self._path, error)
