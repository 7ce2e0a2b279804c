"""Makes the parts of registration and write-back that a configuration asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from isthmus_mcp_bridge.backsync.layouts import LAYOUTS
from isthmus_mcp_bridge.backsync.own_entries import OwnEntries
from isthmus_mcp_bridge.backsync.write_back import WriteBack
from isthmus_mcp_bridge.backsync.writer import Writer, WriterSettings
from isthmus_mcp_bridge.backsync.zookeeper_store import ZooKeeperStore
from isthmus_mcp_bridge.config.model import BacksyncConfig, BridgeConfig, RegistryConfig, ZooKeeperConfig
from isthmus_mcp_bridge.dualmode.show import Show, mesh_else_native
from isthmus_mcp_bridge.observe.metrics import Sample
from isthmus_mcp_bridge.registration.probe import tcp_probe
from isthmus_mcp_bridge.registration.registrations import Naming, Registrations

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


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What there is of registration and write-back."""

    registrations: Registrations | None = None
    write_back: WriteBack | None = None
    own: Mapping[str, OwnEntries] = dataclasses.field(default_factory=dict)
    """What is kept back of each registry that is written."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class Shows:
    """What of an instance mesh consumers and SDK consumers are shown."""

    mesh: Show = mesh_else_native
    sdk: Show = mesh_else_native


def build_parts(
    config: BridgeConfig, now: Callable[[], float], random: Callable[[], float], shows: Shows | None = None
) -> Parts:
    """The parts, not yet running. Call it in the loop that runs them."""
    shows = shows or Shows()
    registrations = None
    if config.registration is not None:
        naming = Naming(config.registration.naming, config.registration.ports)
        registrations = Registrations(naming, config.registration.limits, tcp_probe(), now, shows.mesh)
    if config.backsync is None:
        return Parts(registrations)
    writers = {
        one.name: _writer(one, config.backsync, registrations, now, random)
        for one in config.registries
        if one.name in config.backsync.registries
    }
    write_back = WriteBack(config.backsync.cluster, writers, shows.sdk)
    if registrations is not None:
        registrations.listen(write_back.registered)
    own = {name: _own(name, writers[name], config.backsync.cluster, registrations) for name in writers}
    return Parts(registrations, write_back, own)


def _writer(
    one: RegistryConfig,
    config: BacksyncConfig,
    registrations: Registrations | None,
    now: Callable[[], float],
    random: Callable[[], float],
) -> Writer:
    assert isinstance(one.kind, ZooKeeperConfig)
    store = ZooKeeperStore(one.kind.servers, one.kind.session_timeout_s)
    settings = WriterSettings(one.name, one.kind.root, config.cluster, config.overlap_s, config.writes_per_s)
    writer = Writer(settings, LAYOUTS[one.kind.layout], store, now, random)
    if registrations is not None:
        writer.outdone = registrations.outdone
    return writer


def _own(name: str, writer: Writer, cluster: str, registrations: Registrations | None) -> OwnEntries:
    naming = Naming() if registrations is None else registrations.naming
    learn = registrations.learn if registrations is not None else lambda _registry, _origin, _found: None
    forget = registrations.forget if registrations is not None else lambda _registry, _kept: None
    return OwnEntries(cluster, name, writer.layout, naming.rule, learn, forget)
