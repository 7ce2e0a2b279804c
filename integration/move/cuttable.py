"""The way of a program to ZooKeeper, which can be cut: a relay in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

from harness.relay import Relay


class Cuttable:
    """See the module; ``address`` is where to connect."""

    def __init__(self, target: str) -> None:
        self._relay = Relay(target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    @property
    def address(self) -> str:
        """``host:port``."""
        return self._relay.address

    def cut(self) -> None:
        """Break all connections and take none."""
        asyncio.run_coroutine_threadsafe(self._relay.cut(), self._loop).result(10)

    def mend(self) -> None:
        """Take connections (again)."""
        asyncio.run_coroutine_threadsafe(self._relay.open(), self._loop).result(10)
