"""Makes the parts of dual mode that a configuration asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from isthmus_mcp_bridge.config.model import BridgeConfig, DualModeConfig
from isthmus_mcp_bridge.dualmode.directory_source import DirectoryPolicies
from isthmus_mcp_bridge.dualmode.policy import Policy
from isthmus_mcp_bridge.dualmode.policy_book import PolicyBook
from isthmus_mcp_bridge.dualmode.policy_store import PolicyStore
from isthmus_mcp_bridge.dualmode.xds_source import XdsPolicies
from isthmus_mcp_bridge.observe.metrics import Sample

Run = Callable[[], Coroutine[Any, Any, None]]
Take = Callable[[Iterable[Policy]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyParts:
    """What follows the policies; nothing where none are configured."""

    book: PolicyBook | None = None
    store: PolicyStore | None = None
    runs: tuple[Run, ...] = ()

    def samples(self) -> Iterable[Sample]:
        """The gauges of the store."""
        if self.store is not None:
            yield Sample("isthmus_bridge_policy_store_failures", self.store.failures)


def build_policies(
    config: BridgeConfig, node_id: str, take: Take, epoch: Callable[[], float], random: Callable[[], float]
) -> PolicyParts:
    """The parts, not yet running; ``take`` gets the policies whenever they change, those on disk at once."""
    if config.dual_mode is None:
        return PolicyParts()
    book = PolicyBook(config.dual_mode.source)
    follow = _follower(config.dual_mode, node_id, book, lambda: take(book.policies), epoch, random)
    if config.warm_start is None:
        return PolicyParts(book, None, (follow,))
    store = PolicyStore(_beside(config.warm_start.path), book, epoch)
    if store.load():
        take(book.policies)
    return PolicyParts(book, store, (follow, store.run))


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
