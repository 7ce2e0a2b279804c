"""Compiled listener configuration: what the accept loop and the network filters read. Immutable; built by ``config``."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from isthmus_proxy.route.model import ClusterWeight, RouteConfiguration

IpNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A TCP address; ``host`` is an IP address literal, ``port`` 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AccessLogConfig:
    """One file access log (envoy.extensions.access_loggers.file.v3.FileAccessLog, or stream.v3 stdout and stderr).

    ``path`` may be ``/dev/stdout``; exactly one of ``text_format`` and ``json_format`` is set. ``json_format`` maps keys to
    format strings or nested mappings; ``typed`` keeps numbers as numbers (typed_json_format).
    """

    path: str
    text_format: str | None = None
    json_format: tuple[tuple[str, object], ...] | None = None
    typed: bool = False
    omit_empty_values: bool = False


@dataclass(frozen=True, slots=True)
class RdsReference:
    """The route configuration comes over xDS under this name."""

    route_config_name: str
    initial_fetch_timeout: float = 15.0


@dataclass(frozen=True, slots=True)
class HttpConnectionManagerConfig:
    """envoy.extensions.filters.network.http_connection_manager.v3, the supported part. Durations in seconds, 0 = off."""

    stat_prefix: str
    route: RouteConfiguration | RdsReference
    access_logs: tuple[AccessLogConfig, ...] = ()
    server_name: bytes = b"envoy"
    server_header_transformation: str = "OVERWRITE"  # OVERWRITE, APPEND_IF_ABSENT, PASS_THROUGH
    via: bytes = b""
    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    idle_timeout: float = 3600.0
    max_connection_duration: float = 0.0
    max_requests_per_connection: int = 0
    stream_idle_timeout: float = 300.0
    request_timeout: float = 0.0
    request_headers_timeout: float = 0.0
    drain_timeout: float = 5.0
    delayed_close_timeout: float = 1.0
    max_request_headers_kb: int = 60
    max_headers_count: int = 100
    accept_http_10: bool = False
    upgrade_types: frozenset[bytes] = frozenset()
    suppress_envoy_headers: bool = False
    default_host_for_http_10: bytes = b""
    allow_absolute_url: bool = True
    internal_ranges: tuple[IpNetwork, ...] = ()  # internal_address_config
    always_forward_client_cert: bool = (
        False  # forward_client_cert_details; without TLS all its other values remove the header
    )
    append_x_forwarded_port: bool = False
    scheme_to_overwrite: bytes = b""
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: str = "KEEP_UNCHANGED"
    strip_port: str = ""  # matching (strip_matching_host_port) or any (strip_any_host_port)
    strip_trailing_host_dot: bool = False
    headers_with_underscores_action: str = "ALLOW"
    keep_connection_on_bad_request: bool = False  # stream_error_on_invalid_http_message

    @property
    def normalizes_paths(self) -> bool:
        """Whether a path may change before it is routed."""
        return self.normalize_path or self.merge_slashes or self.path_with_escaped_slashes_action != "KEEP_UNCHANGED"

    @property
    def reads_connection(self) -> bool:
        """Whether what is worked out for a head depends on the connection on which it came."""
        return self.use_remote_address or self.append_x_forwarded_port or self.strip_port == "matching"


@dataclass(frozen=True, slots=True)
class TcpProxyConfig:
    """envoy.extensions.filters.network.tcp_proxy.v3, the supported part."""

    stat_prefix: str
    clusters: tuple[ClusterWeight, ...]
    idle_timeout: float = 3600.0
    max_connect_attempts: int = 1
    access_logs: tuple[AccessLogConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterChain:
    """The terminal network filter that serves a connection."""

    name: str
    network_filter: HttpConnectionManagerConfig | TcpProxyConfig


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """One listener. ``content`` is the hash of the message it was compiled from: equal content means nothing to do."""

    name: str
    address: SocketAddress
    filter_chains: tuple[FilterChain, ...]
    content: str
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    tcp_backlog_size: int = 1024
    reuse_port: bool = True
    metadata: dict[str, object] = field(default_factory=dict)
