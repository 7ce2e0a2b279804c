"""Compiled cluster configuration and endpoints' identity. Immutable; built by ``config.cluster``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from isthmus_proxy.cluster.addresses import Address, HappyEyeballsConfig, TcpKeepalive
from isthmus_proxy.cluster.health.model import EndpointHealthCheck, HealthCheckConfig
from isthmus_proxy.cluster.lb_policy import ROUND_ROBIN, LbPolicy
from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.cluster.original_dst_model import OriginalDst
from isthmus_proxy.cluster.outlier.model import OutlierDetectionConfig
from isthmus_proxy.cluster.transport import RAW, TransportSocket, TransportSocketMatch
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.xds.source import ApiSource

Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]


_CHECKED = EndpointHealthCheck()
IN_TURN: Final = HappyEyeballsConfig()


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One endpoint of an assignment (config.endpoint.v3.LbEndpoint). ``host`` is an IP literal, or a DNS name before resolution."""

    host: str
    port: int
    weight: int = 1
    health: Health = "UNKNOWN"
    hostname: str = ""
    metadata: Criteria = ()  # filter_metadata["envoy.lb"]
    transport_metadata: Criteria = ()  # filter_metadata["envoy.transport_socket_match"]
    health_check: EndpointHealthCheck = _CHECKED
    additional_addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalityEndpoints:
    """config.endpoint.v3.LocalityLbEndpoints."""

    endpoints: tuple[EndpointConfig, ...]
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    weight: int = 0  # what a locality has for which load_balancing_weight is not set
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """config.endpoint.v3.ClusterLoadAssignment."""

    cluster_name: str
    localities: tuple[LocalityEndpoints, ...] = ()
    overprovisioning_factor: int = 140
    weighted_priority_health: bool = False


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries allowed as a share of what is active (CircuitBreakers.Thresholds.RetryBudget)."""

    percent: float = 20.0
    min_concurrency: int = 3


UNLIMITED: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Circuit breaker limits of one routing priority (config.cluster.v3.CircuitBreakers.Thresholds)."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    max_connection_pools: int = UNLIMITED
    retry_budget: RetryBudget | None = None
    track_remaining: bool = False


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """config.cluster.v3.Cluster, the supported part. Durations in seconds. ``content`` is the hash of its message."""

    name: str
    discovery: Literal["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"]
    content: str = ""
    alt_stat_name: str = ""
    lb_policy: LbPolicy = ROUND_ROBIN
    connect_timeout: float = 5.0
    eds_service_name: str = ""
    eds_initial_fetch_timeout: float = 15.0
    eds_source: ApiSource | None = None
    assignment: Assignment | None = None  # inline load_assignment of STATIC and DNS clusters
    dns_refresh_rate: float = 5.0
    dns_failure_refresh_rate: tuple[float, float] = (5.0, 5.0)  # base and maximum of the back-off
    dns_lookup_family: Literal["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"] = "AUTO"
    thresholds: Thresholds = field(default_factory=Thresholds)
    high_thresholds: Thresholds = field(default_factory=Thresholds)
    per_host_max_connections: int = UNLIMITED
    original_dst: OriginalDst | None = None
    outlier_detection: OutlierDetectionConfig | None = None
    health_check: HealthCheckConfig | None = None
    ignore_health_on_host_removal: bool = False
    close_connections_on_host_health_failure: bool = False
    ignore_new_hosts_until_first_hc: bool = False
    close_connections_on_host_set_change: bool = False
    max_requests_per_connection: int = 0
    upstream_idle_timeout: float = 3600.0
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    healthy_panic_threshold: float = 50.0
    http2: bool = False
    enable_trailers: bool = False
    header_key_format: str = ""  # as in codec.http1.spelling; empty: lower case
    http2_options: Http2Options = field(default_factory=Http2Options)
    transport: TransportSocket = RAW
    transport_matches: tuple[TransportSocketMatch, ...] = ()
    auto_sni: bool = False  # the server name for TLS is the host of the request
    auto_san_validation: bool = False
    happy_eyeballs: HappyEyeballsConfig = IN_TURN
    tcp_keepalive: TcpKeepalive | None = None
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def secured(self) -> bool:
        """Whether connections to any of its endpoints are not just TCP."""
        return bool(self.transport or self.transport_matches)
