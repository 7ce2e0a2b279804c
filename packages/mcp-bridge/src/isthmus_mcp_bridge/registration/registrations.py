"""All registered instances as a source of the catalog: those that sidecars hold here, and those that other replicas hold.

The only place with the lease table, the clock and the probes; lives in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceSuspected
from isthmus_mcp_bridge.registration.claims import entry_of
from isthmus_mcp_bridge.registration.leases import LeaseLimits, LeaseTable
from isthmus_mcp_bridge.registration.model import NAME, InstanceKey, Registered, SdkService, naming_of
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.book import Book, Entry
from isthmus_mcp_bridge.registries.naming import NamingRule

MAX_SHOWN = 1000

Probe = Callable[[Address], Awaitable[bool]]
"""Whether somebody takes connections at the address; ends by itself, within a bound."""
Listener = Callable[[InstanceKey, Registered | None, bool], None]
"""Takes an instance, how it is now, and whether it is None because another replica holds it."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Naming:
    """How registered services are named in the mesh, and their ports by family."""

    rule: NamingRule = dataclasses.field(default_factory=NamingRule)
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Registrations:
    """See the module: a Registry of the bridge, beside the legacy ones."""

    name = NAME

    def __init__(
        self,
        naming: Naming,
        limits: LeaseLimits,
        probe: Probe,
        now: Callable[[], float],
    ) -> None:
        self.naming = naming
        self.leases = LeaseTable(limits)
        self.probes = 0
        self.revision = 0
        """Grows whenever something of the leases has changed."""
        self.now = now
        self._probe = probe
        self._listeners: list[Listener] = []
        self._local: dict[InstanceKey, Registered] = {}
        self._learned: dict[tuple[str, str], dict[InstanceKey, Registered]] = {}
        self._of_service: dict[SdkService, set[InstanceKey]] = {}
        self._known: dict[InstanceKey, Registered] = {}
        self._stale: set[InstanceKey] = set()
        self._wake = asyncio.Event()
        self._book = Book(NAME)
        self._asking: set[asyncio.Task[None]] = set()

    def listen(self, listener: Listener) -> None:
        """Tell of every instance that sidecars hold here, and of its end."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """The lease table has changed: what follows is told now, and claimed soon."""
        changed = self.leases.take_changed()
        self.revision += bool(changed)
        for key, moved in changed.items():
            found = self.leases.registered(key, naming_of(self.naming.rule, key.service).key)
            if found == self._local.get(key):
                continue
            if found is None:
                del self._local[key]
            else:
                self._local[key] = found
            self._stale.add(key)
            for listener in self._listeners:
                listener(key, found, moved)
        self._wake.set()

    def outdone(self, key: InstanceKey, epoch: int) -> None:
        """A registry holds the instance with this epoch."""
        self.leases.outdo(key, epoch)
        self.changed()

    def learn(self, registry: str, origin: str, instances: Iterable[Registered]) -> None:
        """What replicas of our cluster have written into one origin of a registry."""
        found: dict[InstanceKey, Registered] = {}
        for one in sorted(instances, key=lambda one: one.epoch):
            found[one.key] = one
            self.leases.outdo_restored(one.key, one.epoch)
        before = self._learned.pop((registry, origin), {})
        if found:
            self._learned[registry, origin] = found
        if found != before:
            self._stale |= found.keys() | before.keys()
            self._wake.set()

    def forget(self, registry: str, kept: Iterable[str]) -> None:
        """Of the registry there are only these origins left."""
        gone = [key for key in self._learned if key[0] == registry and key[1] not in set(kept)]
        for _, origin in gone:
            self.learn(registry, origin, ())

    @property
    def instances(self) -> Mapping[InstanceKey, Registered]:
        """The instances that sidecars hold here."""
        return self._local

    def learned_epoch(self, keys: Iterable[InstanceKey]) -> int:
        """The greatest epoch with which a replica has written any of these instances; 0: none has."""
        found = (one[key].epoch for key in keys for one in self._learned.values() if key in one)
        return max(found, default=0)

    @property
    def learned(self) -> int:
        """How many instances the entries of other replicas and our own tell of."""
        return sum(map(len, self._learned.values()))

    async def run(self, emit: Emit) -> None:
        """Claim and probe until cancelled. The source is LIVE once every sidecar has had its grace to come."""
        emit(SourceSuspected(NAME, "sidecars have not had the time to come"))
        listed_at = self.now() + self.leases.limits.grace_s
        listed = False
        try:
            while True:
                self._tick()
                reports = self._claim()
                if not listed and self.now() >= listed_at:
                    listed = True
                    emit(SourceListed(NAME, self._book.replace(self._entries())))
                for origin, report in reports.items():
                    emit(OriginChanged(NAME, origin, report))
                await self._wait(None if listed else listed_at)
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    def _tick(self) -> None:
        self.leases.tick(self.now())
        self.changed()
        self._wake.clear()
        for key, native, mesh in self.leases.take_probes(self.now()):
            task = asyncio.create_task(self._ask(key, native, mesh))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, key: InstanceKey, native: Address, mesh: Address) -> None:
        self.probes += 1
        up, mesh_up = await asyncio.gather(self._probe(native), self._probe(mesh))
        self.leases.probed(key, up, self.now(), mesh_up=mesh_up)
        self.changed()

    async def _wait(self, until: float | None) -> None:
        times = [time for time in (until, self.leases.next_tick()) if time is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(times) - self.now()) if times else None):
                await self._wake.wait()

    def _claim(self) -> dict[str, OriginReport]:
        """The reports of the services whose instances changed."""
        services = set()
        for key in self._stale:
            self._resolve(key)
            services.add(key.service)
        self._stale.clear()
        reports: dict[str, OriginReport] = {}
        for service in sorted(services):
            entry = self._entry(service)
            reports |= self._book.update(str(service), entry) if entry.providers else self._book.remove(str(service))
        return reports

    def _resolve(self, key: InstanceKey) -> None:
        """The instance as most of all knows it: whoever has the greatest epoch, our own lease first."""
        found = [one[key] for one in self._learned.values() if key in one]
        found += [self._local[key]] if key in self._local else []
        best = max(found, key=lambda one: (one.epoch, one is self._local.get(key)), default=None)
        members = self._of_service.setdefault(key.service, set())
        if best is None:
            self._known.pop(key, None)
            members.discard(key)
        else:
            self._known[key] = best
            members.add(key)
        if not members:
            del self._of_service[key.service]

    def _entries(self) -> dict[str, Entry]:
        found = {str(service): self._entry(service) for service in sorted(self._of_service)}
        return {origin: entry for origin, entry in found.items() if entry.providers}

    def _entry(self, service: SdkService) -> Entry:
        members = self._of_service.get(service, ())
        return entry_of([self._known[key] for key in members], self.naming.rule, self.naming.ports)

    def status(self) -> dict[str, Any]:
        """The leases, for the administration endpoint."""
        now = self.now()
        leases = sorted(self.leases.leases.values(), key=lambda one: one.node)
        return {
            "total": len(leases),
            "instances": len(self._local),
            "learned": self.learned,
            "overflows": self.leases.overflows,
            "leases": [
                {
                    "node": lease.node,
                    "zone": lease.zone,
                    "epoch": lease.epoch,
                    "state": lease.state,
                    "age_s": round(now - lease.since, 1),
                    "instances": [self._shown(key) for key in sorted(lease.offers)],
                    "held_by_others": [f"{key.service} {key.id}" for key in sorted(lease.outdone)],
                }
                for lease in leases[:MAX_SHOWN]
            ],
        }

    def _shown(self, key: InstanceKey) -> dict[str, Any]:
        found = self._local.get(key)
        instance = None if found is None else found.instance
        return {
            "service": str(key.service),
            "id": key.id,
            "host": "" if instance is None else instance.service.name,
            "native": "" if instance is None or instance.native is None else str(instance.native),
            "mesh": "" if instance is None else str(instance.mesh),
            "native_up": instance is not None and instance.native_up,
            "mesh_up": instance is not None and instance.mesh_up,
        }
