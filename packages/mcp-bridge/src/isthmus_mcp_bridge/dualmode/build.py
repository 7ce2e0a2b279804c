"""Makes the parts of dual mode that a configuration asks for."""

from __future__ import annotations

import dataclasses
import functools
import secrets
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.config.model import BridgeConfig, DualModeConfig, ZooKeeperConfig
from isthmus_mcp_bridge.dualmode.directory_source import DirectoryPolicies, PolicyFileError, read_items, read_texts
from isthmus_mcp_bridge.dualmode.override_writer import OverrideWriter, ZooKeeperNodes
from isthmus_mcp_bridge.dualmode.overrides import hidden
from isthmus_mcp_bridge.dualmode.policy import Policy
from isthmus_mcp_bridge.dualmode.policy_book import PolicyBook
from isthmus_mcp_bridge.dualmode.policy_store import PolicyStore
from isthmus_mcp_bridge.dualmode.xds_source import XdsPolicies
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.observe.metrics import Sample

Run = Callable[[], Coroutine[Any, Any, None]]
Take = Callable[[Iterable[Policy]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyParts:
    """What follows the policies; nothing where none are configured."""

    book: PolicyBook | None = None
    store: PolicyStore | None = None
    runs: tuple[Run, ...] = ()
    writers: tuple[OverrideWriter, ...] = ()

    def samples(self) -> Iterable[Sample]:
        """The gauges of the store and of what is written."""
        if self.store is not None:
            yield Sample("isthmus_bridge_policy_store_failures", self.store.failures)
        for one in self.writers:
            yield Sample("isthmus_bridge_overrides_held", one.held, {"source": one.registry})
            for event, count in (("written", one.written), ("removed", one.removed), ("failed", one.failures)):
                yield Sample("isthmus_bridge_override_events", count, {"source": one.registry, "event": event})

    def sdk_view_changed(self, catalog: Catalog, services: Iterable[ServiceKey]) -> None:
        """SDK consumers are to be shown something else of these services."""
        for key in services:
            decisions = catalog.dual_modes.decisions.get(key, {})
            for one in self.writers:
                one.want(key, hidden(decisions, catalog.claims(key), one.registry, one.replica))


def build_policies(
    config: BridgeConfig, node_id: str, take: Take, epoch: Callable[[], float], random: Callable[[], float]
) -> PolicyParts:
    """The parts, not yet running; ``take`` gets the policies whenever they change, those on disk at once."""
    if config.dual_mode is None:
        return PolicyParts()
    book = PolicyBook(config.dual_mode.source)
    follow = _follower(config.dual_mode, node_id, book, lambda: take(book.policies), epoch, random)
    writers = _writers(config, config.dual_mode)
    runs = (follow, *(one.run for one in writers))
    if config.warm_start is None:
        return PolicyParts(book, None, runs, writers)
    store = PolicyStore(_beside(config.warm_start.path), book, epoch)
    if store.load():
        take(book.policies)
    return PolicyParts(book, store, (*runs, store.run), writers)


def last_policies(config: BridgeConfig) -> tuple[Policy, ...]:
    """The policies without following them: those of the directory, or those that a bridge with this configuration kept last.

    Raises BridgeError.
    """
    if config.dual_mode is None:
        return ()
    book = PolicyBook(config.dual_mode.source)
    if config.dual_mode.policies is not None:
        try:
            texts = read_texts(config.dual_mode.policies)
            book.replace([item for name, text in texts for item in read_items(name, text)], 0.0)
        except (OSError, PolicyFileError) as error:
            raise BridgeError(f"dual_mode.policies: {error}") from error
    elif config.warm_start is not None:
        PolicyStore(_beside(config.warm_start.path), book, lambda: 0.0).load()
    return book.policies


def _writers(config: BridgeConfig, dual_mode: DualModeConfig) -> tuple[OverrideWriter, ...]:
    replica = secrets.token_hex(4)
    found = []
    for one in config.registries:
        if one.name in dual_mode.overrides and isinstance(one.kind, ZooKeeperConfig):
            connect = functools.partial(ZooKeeperNodes, one.kind.servers, one.kind.session_timeout_s)
            found.append(OverrideWriter(one.name, replica, connect))
    return tuple(found)


def _follower(
    config: DualModeConfig,
    node_id: str,
    book: PolicyBook,
    changed: Callable[[], None],
    epoch: Callable[[], float],
    random: Callable[[], float],
) -> Run:
    if config.policies is not None:
        return DirectoryPolicies(config.policies, book, changed, epoch).run
    return XdsPolicies(config.control_plane, node_id, book, changed, epoch, random).run


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.policies")
