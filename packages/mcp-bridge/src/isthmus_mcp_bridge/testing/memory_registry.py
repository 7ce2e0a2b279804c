"""The smallest registry adapter there can be: what a new one has to do, and a source for tests of the whole bridge."""

from __future__ import annotations

import asyncio

from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceSuspected
from isthmus_mcp_bridge.registries.base import Emit


class MemoryStore:
    """A registry that holds reports by origin; None as long as it does not exist."""

    def __init__(self) -> None:
        self.origins: dict[str, OriginReport] | None = None
        self.reachable = True
        self._changed = asyncio.Condition()

    async def put(self, origin: str, report: OriginReport | None) -> None:
        """Set what an origin holds, or remove it."""
        async with self._changed:
            origins = dict(self.origins or {})
            if report is None:
                origins.pop(origin, None)
            else:
                origins[origin] = report
            self.origins = origins
            self._changed.notify_all()

    async def set_reachable(self, reachable: bool) -> None:
        """Cut all adapters off, or let them back."""
        async with self._changed:
            self.reachable = reachable
            self._changed.notify_all()

    async def establish(self) -> None:
        """Make the registry exist, empty."""
        async with self._changed:
            self.origins = self.origins or {}
            self._changed.notify_all()

    async def wait_change(self) -> None:
        """Until something changed."""
        async with self._changed:
            await self._changed.wait()


class MemoryRegistry:
    """Follows a MemoryStore."""

    def __init__(self, name: str, store: MemoryStore) -> None:
        self._name = name
        self._store = store

    @property
    def name(self) -> str:
        """The registry's name."""
        return self._name

    async def run(self, emit: Emit) -> None:
        """Follow the store until cancelled."""
        seen: dict[str, OriginReport] | None = None
        while True:
            waiting = asyncio.ensure_future(self._store.wait_change())
            await asyncio.sleep(0)
            now = self._store.origins
            if not self._store.reachable or now is None:
                seen = None
                emit(SourceSuspected(self._name, "not reachable"))
            elif seen is None:
                seen = now
                emit(SourceListed(self._name, now))
            else:
                for origin in sorted(seen.keys() | now.keys()):
                    if seen.get(origin) != now.get(origin):
                        emit(OriginChanged(self._name, origin, now.get(origin, OriginReport())))
                seen = now
            try:
                await waiting
            finally:
                waiting.cancel()
