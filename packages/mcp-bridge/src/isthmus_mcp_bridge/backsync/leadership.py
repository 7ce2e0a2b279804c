"""Which replica mirrors: the one that holds a lock in the registry. Its epoch is greater than that of any holder before.

The lock belongs to a session of its own, with a shorter timeout than that of the entries. So when the leader dies, its successor leads, and
replaces its entries, while they still stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from isthmus_mcp_bridge.backsync.store import EntryStore
from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.faults import RegistryFault

IDLE_S = 30.0
"""How long nothing may happen before the lock is looked at again."""

log = logging.getLogger(__name__)


class Leadership:
    """Tries to hold the lock while it runs; ``led`` is told the epoch when it is won, and None when it is lost."""

    def __init__(self, store: EntryStore, lock: str, random: Callable[[], float]) -> None:
        self.led: Callable[[int | None], None] = lambda _epoch: None
        self.epoch: int | None = None
        self._store = store
        self._lock = lock
        self._backoff = Backoff(random)
        self._resigned = asyncio.Event()

    def resign(self) -> None:
        """Give the lock up and do not take it again."""
        self._resigned.set()

    async def run(self) -> None:
        """Lead or wait until cancelled; the session ends then, or as soon as it is resigned."""
        leading = asyncio.create_task(self._lead())
        try:
            await self._resigned.wait()
        finally:
            leading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leading
            await self._store.stop()
            self._tell(None)
        await asyncio.Event().wait()

    async def _lead(self) -> None:
        await self._store.start()
        session, wait_s = 0, IDLE_S
        while True:
            notices = await self._store.wait(wait_s)
            wait_s = IDLE_S
            if notices.session != session or not notices.connected:
                session = notices.session
                self._tell(None)
            if not notices.connected:
                continue
            try:
                self._tell(await self._store.lead(self._lock))
                self._backoff.reset()
            except RegistryFault as fault:
                log.warning("the lock %s cannot be looked at: %s", self._lock, fault)
                wait_s = self._backoff.delay()

    def _tell(self, epoch: int | None) -> None:
        if epoch != self.epoch:
            self.epoch = epoch
            log.info("lock %s: %s", self._lock, "not held here" if epoch is None else f"held here with epoch {epoch}")
            self.led(epoch)
