"""The shape of adapters: follow until a fault, say so, wait, follow again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from isthmus_mcp_bridge.events import OriginChanged, SourceListed, SourceSuspected
from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.book import Book, Entry
from isthmus_mcp_bridge.registries.faults import RegistryFault


async def keep_following(name: str, emit: Emit, backoff: Backoff, follow: Callable[[], Awaitable[None]]) -> None:
    """Call ``follow`` again and again until cancelled; a RegistryFault of it makes the source SUSPECT."""
    while True:
        try:
            await follow()
            reason = "the connection ended"
        except RegistryFault as fault:
            reason = str(fault)
        emit(SourceSuspected(name, reason))
        await asyncio.sleep(backoff.delay())


def first_fault(group: BaseExceptionGroup[BaseException]) -> RegistryFault:
    """The fault that ended a task group, if it held nothing worse; raises the group otherwise."""
    faults, others = group.split(RegistryFault)
    if others is not None or faults is None:
        raise group
    inner: BaseException = faults
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    assert isinstance(inner, RegistryFault)
    return inner


class Reporter:
    """Keeps the book of a registry and emits what follows from it."""

    def __init__(self, name: str, emit: Emit) -> None:
        self._name = name
        self._emit = emit
        self._listed = False
        self.book = Book(name)

    def listed(self, listing: Mapping[str, Entry], *, audit: bool = False, revision: str = "") -> None:
        """Everything was read: the source is LIVE."""
        self._emit(SourceListed(self._name, self.book.replace(listing), audit, revision))

    def changed(self, origin: str, entry: Entry | None) -> None:
        """One origin was read again; None: it is gone."""
        reports = self.book.remove(origin) if entry is None else self.book.update(origin, entry)
        for touched, report in reports.items():
            self._emit(OriginChanged(self._name, touched, report))

    def followed(self, listing: Mapping[str, Entry]) -> None:
        """Everything was read once more: only what changed is told."""
        for touched, report in self.book.follow(listing).items():
            self._emit(OriginChanged(self._name, touched, report))


class PollingRegistry:
    """A registry without watches, or whose watches are not worth it: everything is read every ``interval_s`` seconds."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[Mapping[str, Entry]]],
        interval_s: float,
        random: Callable[[], float],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``read`` gives a whole listing or raises RegistryFault; ``close`` releases what it holds."""
        self._name = name
        self._read = read
        self._interval_s = interval_s
        self._random = random
        self._close = close

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._name

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled."""
        reporter, backoff = Reporter(self._name, emit), Backoff(self._random)

        async def follow() -> None:
            reporter.listed(await self._read())
            backoff.reset()
            while True:
                await asyncio.sleep(self._interval_s * (0.9 + 0.2 * self._random()))
                reporter.followed(await self._read())

        try:
            await keep_following(self._name, emit, backoff, follow)
        finally:
            if self._close is not None:
                await self._close()
