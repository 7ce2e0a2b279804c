"""etcd as a registry that can be written: keys of one lease, and transactions that check what they delete.

A session is a lease. It is renewed three times within its life, over whichever member can be reached; when etcd has ended it, the next
one begins, with none of its keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from isthmus_mcp_bridge.backsync.etcd_calls import EtcdCalls, Renewals, Watches, connected
from isthmus_mcp_bridge.backsync.store import Conflict, Notices, Owner
from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.etcd.client import range_end
from isthmus_mcp_bridge.registries.faults import RegistryFault

STOP_TIMEOUT_S = 5.0
RENEWALS = 3
"""How often a lease is renewed within its life."""

log = logging.getLogger(__name__)


class EtcdStore:
    """An EntryStore. Make it in the loop that uses it."""

    def __init__(self, targets: Sequence[str], session_timeout_s: float, random: Callable[[], float]) -> None:
        """``targets`` are ``host:port``, tried in turn; ``random`` gives numbers in [0, 1)."""
        self._targets = itertools.cycle(targets)
        self._timeout_s = session_timeout_s
        self._backoff = Backoff(random)
        self._lease = 0
        self._calls: EtcdCalls | None = None
        self._watches: Watches | None = None
        self._watched: set[str] = set()
        self._changed: set[str] = set()
        self._interrupted = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; goes on trying until ``stop``."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Revoke the lease, so that nobody need wait for its end; gives up after ``STOP_TIMEOUT_S``."""
        if self._calls is not None and self._lease:
            with contextlib.suppress(TimeoutError, RegistryFault):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._calls.revoke(self._lease)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, timeout_s: float) -> Notices:
        """What happened, as EntryStore says."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()
        notices = Notices(self._calls is not None, self._lease, frozenset(self._changed), self._interrupted)
        self._changed.clear()
        self._interrupted = False
        return notices

    async def read(self, folder: str) -> frozenset[str]:
        """The names below a folder, and a watch from there on that lasts as long as the connection."""
        names, revision = await self._reached().names(folder)
        await self._watch(folder, f"{folder}/".encode(), range_end(f"{folder}/"), revision)
        return names

    async def owners(self, folder: str, names: Collection[str]) -> Mapping[str, Owner]:
        """Whose these keys are, by their lease."""
        calls, lease = self._reached(), self._lease
        found = await asyncio.gather(*(calls.key(f"{folder}/{name}") for name in names))
        return {
            name: Owner(key.lease == lease, key.mod_revision)
            for name, (key, _) in zip(names, found, strict=True)
            if key is not None
        }

    async def commit(self, folder: str, create: str, delete: Sequence[tuple[str, int]], data: bytes) -> None:
        """One transaction. A name that is in both is written over, so no watcher sees it go."""
        unchanged = {f"{folder}/{name}": version for name, version in delete}
        put = {f"{folder}/{create}": data} if create else {}
        unchanged = dict.fromkeys(put, 0) | unchanged
        gone = [key for key in unchanged if key not in put]
        if not await self._reached().transact(unchanged, put, gone, self._lease):
            raise Conflict(f"{folder} has changed")

    async def lead(self, lock: str) -> int | None:
        """A key of the lease; its epoch is the revision that created it."""
        calls = self._reached()
        await calls.transact({lock: 0}, {lock: b""}, (), self._lease)
        key, revision = await calls.key(lock)
        await self._watch(lock, lock.encode(), b"", revision)
        if key is None:
            raise RegistryFault(f"{lock} vanished as it was looked at")
        return int(key.create_revision) if key.lease == self._lease else None

    def _reached(self) -> EtcdCalls:
        if self._calls is None:
            raise RegistryFault("there is no connection to etcd")
        return self._calls

    async def _watch(self, place: str, key: bytes, end: bytes, revision: int) -> None:
        if place in self._watched:
            return
        if self._watches is None:
            raise RegistryFault("there is no connection to etcd")
        await self._watches.add(key, end, revision + 1)
        self._watched.add(place)

    async def _run(self) -> None:
        while True:
            try:
                async with connected(next(self._targets)) as calls:
                    await self._serve(calls)
            except RegistryFault as fault:
                log.warning("the connection is lost: %s", fault)
            await asyncio.sleep(self._backoff.delay())

    async def _serve(self, calls: EtcdCalls) -> None:
        """Keep the lease and follow the watches until one of both fails, which is raised."""
        async with calls.renewals() as renewals, calls.watches() as watches:
            if not self._lease or not await renewals.renew(self._lease, self._timeout_s):
                self._lease = await calls.grant(math.ceil(self._timeout_s))
            self._calls, self._watches = calls, watches
            self._news.set()
            tasks = [asyncio.create_task(self._keep(renewals)), asyncio.create_task(self._follow(watches))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._calls = self._watches = None
                self._watched.clear()
                self._interrupted = True
                self._news.set()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()

    async def _keep(self, renewals: Renewals) -> None:
        while await renewals.renew(self._lease, self._timeout_s / RENEWALS):
            self._backoff.reset()
            await asyncio.sleep(self._timeout_s / RENEWALS)
        raise RegistryFault(f"the lease {self._lease:x} has ended")

    async def _follow(self, watches: Watches) -> None:
        async for key in watches.keys():
            for place in (key, key.rpartition("/")[0]):
                if place in self._watched:
                    self._changed.add(place)
                    self._news.set()
