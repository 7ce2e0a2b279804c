"""Makes the parts of registration and write-back that a configuration asks for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from isthmus_mcp_bridge.backsync.etcd_store import EtcdStore
from isthmus_mcp_bridge.backsync.layouts import LAYOUTS, Layout
from isthmus_mcp_bridge.backsync.leadership import Leadership
from isthmus_mcp_bridge.backsync.mirror import Mirror, MirrorRule
from isthmus_mcp_bridge.backsync.own_entries import OwnEntries
from isthmus_mcp_bridge.backsync.store import EntryStore
from isthmus_mcp_bridge.backsync.write_back import HAND_OVER_S, WriteBack
from isthmus_mcp_bridge.backsync.writer import Writer, WriterSettings
from isthmus_mcp_bridge.backsync.zookeeper_store import ZooKeeperStore
from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.config.model import (
    BacksyncConfig,
    BridgeConfig,
    EtcdConfig,
    MirrorConfig,
    RegistryConfig,
    WrittenKind,
)
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.observe.metrics import Sample
from isthmus_mcp_bridge.registration.probe import tcp_probe
from isthmus_mcp_bridge.registration.registrations import Naming, Registrations

LOCK_SHARE = 0.5
"""The session of a leader's lock is that much shorter than that of its entries, so that a successor leads before they go."""

YIELD_SHARE = 0.15
"""Of the session's timeout. A silent connection is given up after two thirds of it, and the successor needs the rest."""

GAUGES = {
    "isthmus_bridge_leases": "Leases of sidecars by state.",
    "isthmus_bridge_registered_instances": "Instances that sidecars hold here.",
    "isthmus_bridge_learned_instances": "Instances that other replicas of the cluster hold, as the registries show them.",
    "isthmus_bridge_lease_overflows": "Leases and instances refused because there were too many.",
    "isthmus_bridge_probes": "Probes of applications' own addresses.",
    "isthmus_bridge_own_entries_ignored": "Entries of a registry that went through our own cluster and are no foreign truth.",
    "isthmus_bridge_backsync_connected": "1 while the writer of a registry has a session.",
    "isthmus_bridge_backsync_held": "Entries of a registry that belong to our session.",
    "isthmus_bridge_backsync_pending": "Transactions that are not carried out yet.",
    "isthmus_bridge_backsync_events": "What has happened to a writer since the start, by kind.",
}


@dataclasses.dataclass(slots=True)
class Mirroring:
    """One registry into which others are mirrored. ``mirror`` is there once there is a catalog."""

    rule: MirrorRule
    writer: Writer
    leadership: Leadership
    mirror: Mirror | None = None

    def led(self, epoch: int | None) -> None:
        """The lock was won or lost."""
        if self.mirror is not None:
            self.mirror.led(epoch)


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What there is of registration and write-back."""

    registrations: Registrations | None = None
    write_back: WriteBack | None = None
    own: Mapping[str, OwnEntries] = dataclasses.field(default_factory=dict)
    """What is kept back of each registry."""
    mirrors: Sequence[Mirroring] = ()

    def use(self, catalog: Catalog) -> None:
        """Show and mirror what this catalog says."""
        if self.write_back is None:
            return
        self.write_back.show_by(catalog.dual_modes.show)
        for one in self.mirrors:
            one.mirror = Mirror(one.rule, one.writer, self.write_back.cluster, catalog.claims, lambda: catalog.services)

    def changed(self, services: list[ServiceKey]) -> None:
        """Something of these services has changed in the catalog."""
        for one in self.mirrors:
            if one.mirror is not None:
                one.mirror.changed(services)

    @property
    def runs(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the bridge does."""
        writers = self.write_back.writers.values() if self.write_back is not None else ()
        return [*(one.run for one in writers), *(one.leadership.run for one in self.mirrors)]

    async def hand_over(self) -> None:
        """Let other replicas take over what we have written, for ``HAND_OVER_S`` at most."""
        if self.write_back is None:
            return
        for one in self.mirrors:
            one.leadership.resign()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_S):
                await self.write_back.wait_taken_over()

    def status(self) -> dict[str, Any] | None:
        """For the administration endpoint; None when nothing is written."""
        if self.write_back is None:
            return None
        mirrors = [one.mirror.status() for one in self.mirrors if one.mirror is not None]
        return {**self.write_back.status(), "mirrors": mirrors}

    def samples(self) -> Iterable[Sample]:
        """The gauges at this moment."""
        if self.registrations is not None:
            yield from _registration_samples(self.registrations)
        for name, own in self.own.items():
            yield Sample("isthmus_bridge_own_entries_ignored", own.ignored, {"source": name})
        for name, writer in (self.write_back.writers if self.write_back is not None else {}).items():
            yield Sample("isthmus_bridge_backsync_connected", writer.connected, {"source": name})
            yield Sample("isthmus_bridge_backsync_held", writer.held, {"source": name})
            yield Sample("isthmus_bridge_backsync_pending", writer.pending, {"source": name})
            for event, count in dataclasses.asdict(writer.counts).items():
                yield Sample("isthmus_bridge_backsync_events", count, {"source": name, "event": event})


def _registration_samples(registrations: Registrations) -> Iterable[Sample]:
    states = [one.state for one in registrations.leases.leases.values()]
    for state in ("open", "grace", "over"):
        yield Sample("isthmus_bridge_leases", states.count(state), {"state": state})
    yield Sample("isthmus_bridge_registered_instances", len(registrations.instances))
    yield Sample("isthmus_bridge_learned_instances", registrations.learned)
    yield Sample("isthmus_bridge_lease_overflows", registrations.leases.overflows)
    yield Sample("isthmus_bridge_probes", registrations.probes)


def build_parts(config: BridgeConfig, now: Callable[[], float], random: Callable[[], float]) -> Parts:
    """The parts, not yet running. Call it in the loop that runs them."""
    registrations = None
    if config.registration is not None:
        naming = Naming(config.registration.naming, config.registration.ports)
        registrations = Registrations(naming, config.registration.limits, tcp_probe(), now)
    if config.backsync is None:
        return Parts(registrations)
    writers = {
        one.name: _writer(one, config.backsync, registrations, now, random)
        for one in config.registries
        if one.name in config.backsync.registries
    }
    write_back = WriteBack(config.backsync.cluster, writers)
    if registrations is not None:
        registrations.listen(write_back.registered)
    own = {
        one.name: _own(one.name, LAYOUTS[one.kind.layout], config.backsync.cluster, registrations)
        for one in config.registries
        if isinstance(one.kind, WrittenKind) and one.kind.layout in LAYOUTS
    }
    mirrors = [_mirroring(config, one, writers[one.to], random) for one in config.backsync.mirror]
    return Parts(registrations, write_back, own, mirrors)


def _mirroring(config: BridgeConfig, one: MirrorConfig, writer: Writer, random: Callable[[], float]) -> Mirroring:
    kind = next(registry.kind for registry in config.registries if registry.name == one.to)
    assert isinstance(kind, WrittenKind)
    store = _store(kind, kind.session_timeout_s * LOCK_SHARE, random)
    lock = f"/isthmus/backsync/{writer.settings.cluster}/{kind.root.strip('/').replace('/', '-')}/leader"
    leadership = Leadership(store, lock, random)
    found = Mirroring(MirrorRule(frozenset(one.sources), one.services), writer, leadership)
    leadership.led = found.led
    return found


def _writer(
    one: RegistryConfig,
    config: BacksyncConfig,
    registrations: Registrations | None,
    now: Callable[[], float],
    random: Callable[[], float],
) -> Writer:
    assert isinstance(one.kind, WrittenKind)
    store = _store(one.kind, one.kind.session_timeout_s, random)
    settings = WriterSettings(
        one.name,
        one.kind.root,
        config.cluster,
        config.overlap_s,
        config.writes_per_s,
        one.kind.session_timeout_s * YIELD_SHARE,
    )
    writer = Writer(settings, LAYOUTS[one.kind.layout], store, now, random)
    if registrations is not None:
        writer.outdone = registrations.outdone
    return writer


def _store(kind: WrittenKind, session_timeout_s: float, random: Callable[[], float]) -> EntryStore:
    if isinstance(kind, EtcdConfig):
        return EtcdStore(kind.servers, session_timeout_s, random)
    return ZooKeeperStore(kind.servers, session_timeout_s)


def _own(name: str, layout: Layout, cluster: str, registrations: Registrations | None) -> OwnEntries:
    naming = Naming() if registrations is None else registrations.naming
    learn = registrations.learn if registrations is not None else lambda _registry, _origin, _found: None
    forget = registrations.forget if registrations is not None else lambda _registry, _kept: None
    return OwnEntries(cluster, name, layout, naming.rule, learn, forget)
