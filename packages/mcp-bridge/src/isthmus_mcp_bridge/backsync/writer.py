"""Writes into one registry: reads folders, has the ledger plan, commits; at a bounded rate, with back-off, and again after everything."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

from isthmus_mcp_bridge.backsync.entry import SeenEntry, Wanted
from isthmus_mcp_bridge.backsync.layouts import Layout, folder, interface_of
from isthmus_mcp_bridge.backsync.ledger import Ledger
from isthmus_mcp_bridge.backsync.plan import Plan, Transaction
from isthmus_mcp_bridge.backsync.store import Conflict, EntryStore, Notices
from isthmus_mcp_bridge.registration.model import InstanceKey
from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.faults import RegistryFault

IDLE_S = 60.0
"""How long nothing may happen before every folder is looked at again."""
MAX_SHOWN = 1000

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class WriterSettings:
    """``overlap_s``: how long a changed address stays; ``writes_per_s`` bounds transactions, after a burst of as many."""

    registry: str
    root: str
    cluster: str
    overlap_s: float = 5.0
    writes_per_s: float = 200.0
    yield_after_s: float = 1.5
    """After how long without the registry another replica had better hold our leases."""


@dataclasses.dataclass(slots=True)
class WriterCounts:
    """What has happened since the start."""

    created: int = 0
    deleted: int = 0
    conflicts: int = 0
    faults: int = 0
    sessions: int = 0
    outdone: int = 0
    throttled: int = 0


class Writer:
    """See the module. ``want`` at any time; ``run`` until cancelled."""

    def __init__(
        self,
        settings: WriterSettings,
        layout: Layout,
        store: EntryStore,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.layout = layout
        self.counts = WriterCounts()
        self.connected = False
        self.reason = "not connected yet"
        self._store = store
        self._now = now
        self._backoff = Backoff(random)
        self.outdone: Callable[[InstanceKey, int], None] = lambda _key, _epoch: None
        """Told when the registry holds an instance of ours with a greater epoch."""
        self._ledger = Ledger(settings.cluster, settings.overlap_s)
        self._dirty: set[str] = set()
        self._session = 0
        self._lost_at: float | None = None
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._allowance = settings.writes_per_s
        self._allowed_at = now()

    def want(self, key: InstanceKey, wanted: Wanted | None) -> None:
        """The instance shall have these entries; None: it is no affair of ours any more."""
        place = self.folder(key)
        if self._ledger.want(place, key, wanted):
            self._dirty.add(place)
            self._wake.set()

    def folder(self, key: InstanceKey) -> str:
        """Where the instance's entries stand."""
        return folder(self.settings.root, key.service.interface)

    @property
    def held(self) -> int:
        """Entries that belong to our session."""
        return self._ledger.held

    def lost_for(self) -> float:
        """For how many seconds the registry, once reached, cannot be reached any more."""
        return 0.0 if self._lost_at is None else self._now() - self._lost_at

    async def wait_empty(self) -> None:
        """Wait until no entry belongs to our session."""
        while self._ledger.held:
            self._settled.clear()
            await self._settled.wait()

    @property
    def pending(self) -> int:
        """Transactions that are planned and not carried out."""
        return sum(len(one.transactions) for one in self._ledger.pending.values())

    async def run(self) -> None:
        """Write until cancelled; then the session ends, and with it everything that was written."""
        await self._store.start()
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                await self._wait()
                if not self.connected:
                    continue
                try:
                    await self._work()
                    self._backoff.reset()
                    self.reason = ""
                except RegistryFault as fault:
                    self.counts.faults += 1
                    self.reason = str(fault)
                    log.warning("registry %s: not everything is written yet: %s", self.settings.registry, fault)
                    await asyncio.sleep(self._backoff.delay())
                    self._wake.set()
                if listener.done():
                    listener.result()
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener
            await self._store.stop()

    async def _listen(self) -> None:
        while True:
            self._take(await self._store.wait(IDLE_S))
            self._wake.set()

    def _take(self, notices: Notices) -> None:
        self.connected = notices.connected
        if not notices.connected:
            self.reason = "the connection is lost"
            if self._session and self._lost_at is None:
                self._lost_at = self._now()
            return
        self._lost_at = None
        if notices.session != self._session:
            self._session = notices.session
            self.counts.sessions += 1
            self._ledger.session_lost()
            self._dirty |= self._ledger.folders
        if notices.interrupted or not notices.folders:
            self._dirty |= self._ledger.folders
        self._dirty |= notices.folders

    async def _wait(self) -> None:
        due = self._ledger.next_due()
        timeout = None if due is None else max(0.0, due[0] - self._now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()
        if due is not None and due[0] <= self._now():
            self._dirty.add(due[1])

    async def _work(self) -> None:
        while self._dirty:
            place = min(self._dirty)
            self._dirty.discard(place)
            try:
                await self._settle(place)
            except RegistryFault:
                self._dirty.add(place)
                raise

    async def _settle(self, place: str) -> None:
        """Read, plan and commit until nothing is left to be done in the folder."""
        while True:
            seen = self._read(place, await self._store.read(place))
            doubtful = self._ledger.doubtful(place, seen)
            if doubtful:
                self._ledger.answered(place, doubtful, await self._store.owners(place, doubtful))
            found = self._ledger.plan(place, seen, self._now())
            for key, epoch in found.outdone.items():
                self._stand_back(key, epoch)
            self._settled.set()
            if not found.transactions:
                return
            await self._carry_out(place, found)

    def _read(self, place: str, names: frozenset[str]) -> list[SeenEntry]:
        interface = interface_of(place)
        return [one for name in sorted(names) if (one := self.layout.read(name, interface)) is not None]

    def _stand_back(self, key: InstanceKey, epoch: int) -> None:
        if key not in self._ledger.wanted.get(self.folder(key), {}):
            return
        self.counts.outdone += 1
        log.info("registry %s: %s %s is held with epoch %d now", self.settings.registry, key.service, key.id, epoch)
        self.want(key, None)
        self.outdone(key, epoch)

    async def _carry_out(self, place: str, found: Plan) -> None:
        for transaction in found.transactions:
            await self._throttle()
            try:
                await self._commit(place, transaction)
            except Conflict:
                self.counts.conflicts += 1

    async def _commit(self, place: str, transaction: Transaction) -> None:
        owners = await self._store.owners(place, transaction.delete) if transaction.delete else {}
        if len(owners) < len(transaction.delete):
            raise Conflict(f"{place}: an entry that was to be replaced is gone")
        self._ledger.attempt(place, transaction)
        delete = [(name, owners[name].version) for name in transaction.delete]
        await self._store.commit(place, transaction.create, delete, self.layout.data)
        self._ledger.committed(place, transaction)
        self.counts.created += bool(transaction.create)
        self.counts.deleted += len(transaction.delete)

    async def _throttle(self) -> None:
        """Take one from the bucket, or wait for it."""
        rate, now = self.settings.writes_per_s, self._now()
        self._allowance = min(rate, self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowance < 1:
            self.counts.throttled += 1
            await asyncio.sleep((1 - self._allowance) / rate)
        self._allowance -= 1

    def status(self) -> Mapping[str, Any]:
        """For the administration endpoint: what is wanted, and what of it is not yet written."""
        pending = self._ledger.pending
        wanted = [one for folder in self._ledger.wanted.values() for one in folder.values()]
        return {
            "registry": self.settings.registry,
            "layout": self.layout.name,
            "connected": self.connected,
            "reason": self.reason,
            "wanted": len(wanted),
            "held": self.held,
            "unread_folders": sorted(self._dirty)[:MAX_SHOWN],
            "not_yet_written": [
                {"folder": place, "instance": one.key.id, "create": one.create, "delete": list(one.delete)}
                for place, found in sorted(pending.items())
                for one in found.transactions
            ][:MAX_SHOWN],
            "registered_by_others": [
                {"folder": place, "instance": key.id, "address": str(address)}
                for place, found in sorted(pending.items())
                for key, address in found.blocked
            ][:MAX_SHOWN],
            "counts": dataclasses.asdict(self.counts),
        }
