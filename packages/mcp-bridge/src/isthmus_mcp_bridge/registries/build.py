"""Makes the adapter for a configured registry: the one place that knows all kinds."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_mcp_bridge.config.model import FileConfig, RegistryConfig, ZooKeeperConfig
from isthmus_mcp_bridge.registries.base import Registry
from isthmus_mcp_bridge.registries.file.registry import FileRegistry
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver
from isthmus_mcp_bridge.registries.zookeeper.kazoo_client import KazooZooKeeper
from isthmus_mcp_bridge.registries.zookeeper.registry import Pace, ZooKeeperRegistry


def build_registry(config: RegistryConfig, random: Callable[[], float]) -> Registry:
    """The adapter, not yet running; ``random`` gives numbers in [0, 1)."""
    kind = config.kind
    if isinstance(kind, FileConfig):
        return FileRegistry(config.name, kind.path, kind.namespace, random)
    return _zookeeper(config.name, kind, random)


def _zookeeper(name: str, kind: ZooKeeperConfig, random: Callable[[], float]) -> Registry:
    def connect(handover: HandOver) -> KazooZooKeeper:
        return KazooZooKeeper(kind.servers, kind.session_timeout_s, handover)

    directory = Directory(name, kind.naming, kind.ports)
    return ZooKeeperRegistry(name, kind.root, connect, directory, Pace(kind.resync_interval_s), random)
