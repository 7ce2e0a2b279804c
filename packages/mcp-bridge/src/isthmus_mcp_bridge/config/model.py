"""The configuration as values; ``load`` is the only maker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from isthmus_mcp_bridge.catalog.damping import DampingLimits
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.rules import MergeRules
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.catalog.vips import VipRange
from isthmus_mcp_bridge.mcp.filters import SinkFilter
from isthmus_mcp_bridge.mcp.tls import TlsFiles
from isthmus_mcp_bridge.registration.leases import LeaseLimits
from isthmus_mcp_bridge.registration.model import SdkService
from isthmus_mcp_bridge.registries.naming import NamingRule


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
    sinks: tuple[SinkFilter, ...] = ()
    tls: TlsFiles | None = None
    dial: tuple[str, ...] = ()


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
    layout: str = "dubbo"
    dubbo_root: str = "/dubbo"


@dataclasses.dataclass(frozen=True, slots=True)
class ConsulConfig:
    """A ``consul`` registry: base URLs; ``token`` is never logged."""

    servers: tuple[str, ...]
    naming: NamingRule
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scheme: str = "http"
    datacenter: str = ""
    token: str = dataclasses.field(default="", repr=False)
    wait_s: float = 300.0
    resync_interval_s: float = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class NacosConfig:
    """A ``nacos`` registry: ``host:port`` for ``api`` grpc, base URLs for http."""

    servers: tuple[str, ...]
    naming: NamingRule
    api: str = "grpc"
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scheme: str = "http"
    nacos_namespace: str = ""
    groups: tuple[str, ...] = ("DEFAULT_GROUP",)
    interval_s: float = 10.0
    resync_interval_s: float = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class EurekaConfig:
    """A ``eureka`` registry: base URLs, such as ``http://host:8761/eureka``."""

    servers: tuple[str, ...]
    naming: NamingRule
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scheme: str = "http"
    interval_s: float = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class EtcdConfig:
    """An ``etcd`` registry in Dubbo's layout. ``session_timeout_s`` is the life of the lease of what is written there."""

    servers: tuple[str, ...]
    naming: NamingRule
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    root: str = "/dubbo"
    resync_interval_s: float = 300.0
    session_timeout_s: float = 10.0
    layout: str = "dubbo"


@dataclasses.dataclass(frozen=True, slots=True)
class SofaRegistryConfig:
    """A ``sofaregistry`` registry: session servers as ``host:port``, and what to subscribe to."""

    servers: tuple[str, ...]
    naming: NamingRule
    data_ids: tuple[str, ...]
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    group: str = "SOFA"
    instance_id: str = "DEFAULT_INSTANCE_ID"
    first_push_s: float = 3.0


WrittenKind = ZooKeeperConfig | EtcdConfig
"""Registries that can be written."""

Kind = FileConfig | ZooKeeperConfig | ConsulConfig | NacosConfig | EurekaConfig | EtcdConfig | SofaRegistryConfig


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One registry: how long services wait for its first listing (seconds), and what kind it is."""

    name: str
    kind: Kind
    sync_deadline_s: float = 30.0
    limits: SourceLimits = dataclasses.field(
        default_factory=lambda: SourceLimits(guard=GuardLimits(), damping=DampingLimits())
    )


@dataclasses.dataclass(frozen=True, slots=True)
class WarmStartConfig:
    """Where claims are kept across restarts (absolute), how old they may be, how soon they are written (seconds)."""

    path: Path
    max_age_s: float = 3600.0
    flush_s: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class DualModeConfig:
    """Where policies of dual mode come from: a control plane (``host:port``) or a directory, absolute.

    Services wait ``wait_s`` seconds for the first ones. ``overrides`` are the registries in which configurators hide from SDK consumers
    what policies hide.
    """

    control_plane: str = ""
    policies: Path | None = None
    wait_s: float = 2.0
    overrides: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """As messages name it."""
        return f"xds://{self.control_plane}" if self.control_plane else str(self.policies)


@dataclasses.dataclass(frozen=True, slots=True)
class RegistrationConfig:
    """The registration of sidecars, on the MCP server's port: bounds, and how what they register is named in the mesh."""

    naming: NamingRule = dataclasses.field(default_factory=NamingRule)
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    limits: LeaseLimits = dataclasses.field(default_factory=LeaseLimits)


@dataclasses.dataclass(frozen=True, slots=True)
class MirrorConfig:
    """Registries whose services are mirrored into another one; ``services`` gives hosts their SDK's names."""

    to: str
    sources: tuple[str, ...]
    services: Mapping[str, SdkService] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class BacksyncConfig:
    """What is written into registries: the name that all replicas of this bridge share, and the names of the registries.

    ``overlap_s`` is how long a changed address stays; ``writes_per_s`` bounds the transactions on each registry.
    """

    cluster: str
    registries: tuple[str, ...] = ()
    overlap_s: float = 5.0
    writes_per_s: float = 200.0
    mirror: tuple[MirrorConfig, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class BridgeConfig:
    """Everything. The order of the registries is their precedence where they disagree."""

    registries: tuple[RegistryConfig, ...]
    mcp: McpConfig = dataclasses.field(default_factory=McpConfig)
    admin: Address = Address("127.0.0.1", 15021)
    debounce: DebounceConfig = dataclasses.field(default_factory=DebounceConfig)
    rules: MergeRules = dataclasses.field(default_factory=MergeRules)
    vips: VipRange | None = None
    warm_start: WarmStartConfig | None = None
    dual_mode: DualModeConfig | None = None
    registration: RegistrationConfig | None = None
    backsync: BacksyncConfig | None = None
