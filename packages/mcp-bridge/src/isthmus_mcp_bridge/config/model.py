"""The configuration as values; ``load`` is the only maker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.registries.zookeeper.naming import NamingRule


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: an IP address (or ``localhost``) and a port, 0 for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class McpConfig:
    """The MCP server. ``max_response_bytes`` bounds the resources of a delta response."""

    address: Address = Address("127.0.0.1", 15020)
    max_streams: int = 1000
    max_response_bytes: int = 3 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class DebounceConfig:
    """Publish after ``quiet_ms`` without a change, ``longest_ms`` after the first at the latest (milliseconds)."""

    quiet_ms: int = 50
    longest_ms: int = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class FileConfig:
    """A ``file`` registry: the directory, absolute."""

    path: Path
    namespace: str = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class ZooKeeperConfig:
    """A ``zookeeper`` registry; times in seconds, ``ports`` by family (``http``, ``grpc``, ``https``, ``dubbo``, ``bolt``)."""

    servers: str
    naming: NamingRule
    root: str = "/dubbo"
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    session_timeout_s: float = 10.0
    resync_interval_s: float = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One registry: how long services wait for its first listing (seconds), and what kind it is."""

    name: str
    kind: FileConfig | ZooKeeperConfig
    sync_deadline_s: float = 30.0
    removal_guard: GuardLimits | None = dataclasses.field(default_factory=GuardLimits)
    """None believes any loss at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class BridgeConfig:
    """Everything. The order of the registries is their precedence where they disagree."""

    registries: tuple[RegistryConfig, ...]
    mcp: McpConfig = dataclasses.field(default_factory=McpConfig)
    admin: Address = Address("127.0.0.1", 15021)
    debounce: DebounceConfig = dataclasses.field(default_factory=DebounceConfig)
