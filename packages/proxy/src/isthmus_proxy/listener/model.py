"""Compiled listener configuration: what the accept loop and the network filters read. Immutable; built by ``config``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.model import ClusterWeight, HeaderEdits, RouteConfiguration
from isthmus_proxy.rpc.model import HeartbeatConfig, PoolMode, RpcLimits
from isthmus_proxy.trace.model import TracingConfig

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.stream_filter import FilterConfig, FilterContext, FilterFactory
    from isthmus_proxy.rbac.model import Rules
    from isthmus_proxy.route.scopes import FragmentBuilder, Scope
    from isthmus_proxy.tls.model import ServerTlsConfig
    from isthmus_proxy.xds.source import ApiSource

IpNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A TCP address; ``host`` is an IP address literal, ``port`` 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PipeAddress:
    """A Unix-domain socket; ``path`` beginning with ``@`` is abstract, ``mode`` 0 leaves the permissions to the umask."""

    path: str
    mode: int = 0

    def __str__(self) -> str:
        return self.path


Address = SocketAddress | PipeAddress


@dataclass(frozen=True, slots=True)
class GrpcLogTarget:
    """extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig. Additional headers to log are lower case."""

    cluster: str
    log_name: str
    flush_seconds: float = 1.0
    buffer_bytes: int = 16_384
    request_headers: tuple[bytes, ...] = ()
    response_headers: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessLogConfig:
    """One file access log (envoy.extensions.access_loggers.file.v3.FileAccessLog, or stream.v3 stdout and stderr).

    With ``grpc`` it goes to a log service, and has no path and no format.
    ``path`` may be ``/dev/stdout``; exactly one of ``text_format`` and ``json_format`` is set. ``json_format`` maps keys to
    format strings or nested mappings; ``typed`` keeps numbers as numbers (typed_json_format).
    """

    path: str
    text_format: str | None = None
    json_format: tuple[tuple[str, object], ...] | None = None
    typed: bool = False
    omit_empty_values: bool = False
    grpc: GrpcLogTarget | None = None
    matches: Callable[[StreamInfo], bool] | None = field(
        default=None, compare=False
    )  # its filter; None logs everything


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How the body of a local reply is written (core.v3.SubstitutionFormatString)."""

    render: Callable[[StreamInfo], bytes]
    content_type: bytes


@dataclass(frozen=True, slots=True)
class ReplyMapper:
    """One mapper of local_reply_config: what is changed in a local reply that ``matches``; None leaves it as it is."""

    matches: Callable[[StreamInfo], bool]
    status: int | None = None
    body: bytes | None = None
    format: ReplyFormat | None = None
    headers: HeaderEdits = field(default_factory=HeaderEdits)


@dataclass(frozen=True, slots=True)
class LocalReplies:
    """local_reply_config: the first mapper that matches is applied, then the body is formatted."""

    mappers: tuple[ReplyMapper, ...] = ()
    format: ReplyFormat | None = None


@dataclass(frozen=True, slots=True)
class RdsReference:
    """The route configuration comes over xDS under this name: by the aggregated stream, or that of ``source``."""

    route_config_name: str
    initial_fetch_timeout: float = 15.0
    source: ApiSource | None = None


@dataclass(frozen=True, slots=True)
class ScopedRoutesConfig:
    """http_connection_manager.v3.ScopedRoutes. ``scopes`` None: they come over xDS; ``name`` is theirs in stats.

    ``reference`` says from where routes come that scopes name; its own name is empty.
    """

    name: str
    builders: tuple[FragmentBuilder, ...]
    reference: RdsReference
    scopes: tuple[Scope, ...] | None = None
    initial_fetch_timeout: float = 15.0

    def references(self, discovered: frozenset[str]) -> Iterator[RdsReference]:
        """The route configurations over RDS, ``discovered`` being those that scopes over xDS name."""
        own = [scope.route for scope in self.scopes or () if isinstance(scope.route, str)]
        for name in sorted(discovered if self.scopes is None else set(own)):
            yield replace(self.reference, route_config_name=name)


@dataclass(frozen=True, slots=True)
class HttpFilterConfig:
    """http_connection_manager.v3.HttpFilter, compiled. ``disabled``: routes have to enable it."""

    name: str
    config: FilterConfig
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Extension:
    """The configuration of an HTTP filter as it came over xDS. ``kind`` is the full name of its message."""

    kind: str
    config: FilterConfig


@dataclass(frozen=True, slots=True)
class DiscoveredFilterConfig:
    """core.v3.ExtensionConfigSource. ``kinds`` are the messages that may come under ``name``; ``source`` None is ADS.

    ``without_warming``: the listener does not wait for it (apply_default_config_without_warming).
    """

    name: str
    kinds: frozenset[str]
    default: FilterConfig | None = None
    without_warming: bool = False
    initial_fetch_timeout: float = 15.0
    source: ApiSource | None = None

    def chosen(self, extension: Extension | None) -> FilterConfig | None:
        """What serves when ``extension`` is the newest."""
        return extension.config if extension is not None and extension.kind in self.kinds else self.default

    def make(self, context: FilterContext) -> FilterFactory:
        """See ``FilterConfig``."""
        return context.surroundings.extensions().make(self, context)


@dataclass(frozen=True, slots=True)
class HttpConnectionManagerConfig:
    """envoy.extensions.filters.network.http_connection_manager.v3, the supported part. Durations in seconds, 0 = off."""

    stat_prefix: str
    route: RouteConfiguration | RdsReference | ScopedRoutesConfig
    codec_type: str = "AUTO"  # AUTO, HTTP1, HTTP2
    http2: Http2Options = field(default_factory=Http2Options)
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
    enable_trailers: bool = False
    header_key_format: str = ""  # as in codec.http1.spelling; empty: lower case
    local_replies: LocalReplies | None = field(default=None, compare=False)
    tracing: TracingConfig | None = None
    allow_absolute_url: bool = True
    internal_ranges: tuple[IpNetwork, ...] = ()  # internal_address_config
    forward_client_cert: str = "SANITIZE"  # forward_client_cert_details
    client_cert_details: frozenset[str] = frozenset()  # of set_current_client_cert_details: subject, cert, dns, uri
    append_x_forwarded_port: bool = False
    scheme_to_overwrite: bytes = b""
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: str = "KEEP_UNCHANGED"
    strip_port: str = ""  # matching (strip_matching_host_port) or any (strip_any_host_port)
    strip_trailing_host_dot: bool = False
    headers_with_underscores_action: str = "ALLOW"
    keep_connection_on_bad_request: bool = False  # stream_error_on_invalid_http_message
    proxy_informational: bool = False  # proxy_100_continue: 1xx responses pass, instead of an answer of ours to Expect
    http_filters: tuple[HttpFilterConfig, ...] = ()  # those before the router

    @property
    def normalizes_paths(self) -> bool:
        """Whether a path may change before it is routed."""
        return self.normalize_path or self.merge_slashes or self.path_with_escaped_slashes_action != "KEEP_UNCHANGED"

    @property
    def reads_connection(self) -> bool:
        """Whether what is worked out for a head depends on the connection on which it came."""
        return (
            self.use_remote_address
            or self.append_x_forwarded_port
            or self.strip_port == "matching"
            or self.forward_client_cert not in ("SANITIZE", "ALWAYS_FORWARD_ONLY")
        )


@dataclass(frozen=True, slots=True)
class TcpProxyConfig:
    """envoy.extensions.filters.network.tcp_proxy.v3, the supported part. Durations in seconds, 0 = off.

    ``cluster_from_sni``: the sni_cluster filter stands before it, so a server name is the name of the cluster.
    ``hash_source_ip``: ring hash and maglev choose by the client's address. ``max_connection_duration_jitter``: the greatest
    part, 1 = all of it, by which connections may live longer.
    """

    stat_prefix: str
    clusters: tuple[ClusterWeight, ...]
    hash_source_ip: bool = False
    idle_timeout: float = 3600.0
    max_connection_duration: float = 0.0
    max_connection_duration_jitter: float = 0.0
    max_connect_attempts: int = 1
    cluster_from_sni: bool = False
    access_logs: tuple[AccessLogConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class RpcProxyConfig:
    """isthmus.network.rpc_proxy.v1.RpcProxy: a proxy for one protocol of remote calls. ``goaway``: clients are asked to leave.

    ``timeout_header``, in lower case, names the header or attachment that says how many milliseconds a request may take.
    ``route_cache``: plans are remembered.
    """

    stat_prefix: str
    route: RouteConfiguration | RdsReference
    codec: str
    access_logs: tuple[AccessLogConfig, ...] = ()
    pool_mode: PoolMode = "MULTIPLEX"
    heartbeat: HeartbeatConfig = field(default_factory=HeartbeatConfig)
    limits: RpcLimits = field(default_factory=RpcLimits)
    goaway: bool = False
    verify_crc: bool = False
    http_filters: tuple[HttpFilterConfig, ...] = ()  # those that read heads alone
    tracing: TracingConfig | None = None
    timeout_header: bytes = b""
    route_cache: bool = True


@dataclass(frozen=True, slots=True)
class DirectResponseConfig:
    """envoy.extensions.filters.network.direct_response.v3: these bytes, then the end."""

    response: bytes


@dataclass(frozen=True, slots=True)
class ConnectionLimitConfig:
    """envoy.extensions.filters.network.connection_limit.v3: connections above the limit close after ``delay`` seconds."""

    stat_prefix: str
    max_connections: int
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class ConnectionRbacConfig:
    """envoy.extensions.filters.network.rbac.v3. ``rules`` None: every connection passes; ``shadow_rules`` are only counted.

    ``after_handshake``: what they ask for is known when TLS has said who the peer is.
    """

    stat_prefix: str
    rules: Rules | None = None
    shadow_rules: Rules | None = None
    after_handshake: bool = False


GateConfig = ConnectionLimitConfig | ConnectionRbacConfig
TerminalFilterConfig = HttpConnectionManagerConfig | TcpProxyConfig | DirectResponseConfig | RpcProxyConfig


@dataclass(frozen=True, slots=True)
class FilterChainMatch:
    """config.listener.v3.FilterChainMatch; nothing set fits every connection. Server names may begin with ``*.``."""

    destination_port: int = 0
    prefix_ranges: tuple[IpNetwork, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[IpNetwork, ...] = ()
    source_type: str = "ANY"  # ANY, SAME_IP_OR_LOOPBACK, EXTERNAL
    source_prefix_ranges: tuple[IpNetwork, ...] = ()
    source_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterChain:
    """The terminal network filter that serves a connection, and what it passes before. Equal ``content``: unchanged."""

    name: str
    network_filter: TerminalFilterConfig
    match: FilterChainMatch = FilterChainMatch()
    gates: tuple[GateConfig, ...] = ()
    content: str = ""
    tls: ServerTlsConfig | None = None
    transport_socket_connect_timeout: float = 0.0  # of the TLS handshake; 0 = none


@dataclass(frozen=True, slots=True)
class TlsInspectorConfig:
    """envoy.extensions.filters.listener.tls_inspector.v3."""

    max_client_hello_size: int = 16384


@dataclass(frozen=True, slots=True)
class HttpInspectorConfig:
    """envoy.extensions.filters.listener.http_inspector.v3."""


@dataclass(frozen=True, slots=True)
class RpcInspectorConfig:
    """isthmus.listener.rpc_inspector.v1.RpcInspector: the protocols that are looked for, by the names of their codecs, and ``tr``."""

    protocols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OriginalDstConfig:
    """envoy.extensions.filters.listener.original_dst.v3."""


@dataclass(frozen=True, slots=True)
class ProxyProtocolConfig:
    """envoy.extensions.filters.listener.proxy_protocol.v3."""

    allow_requests_without_proxy_protocol: bool = False
    disallowed_versions: frozenset[int] = frozenset()
    stat_prefix: str = ""


@dataclass(frozen=True, slots=True)
class PortRange:
    """ListenerFilterChainMatchPredicate.destination_port_range: from ``start`` to before ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Predicate:
    """ListenerFilterChainMatchPredicate. ``kind`` is ``any``, ``port``, ``not``, ``or`` or ``and``."""

    kind: str
    ports: PortRange | None = None
    rules: tuple[Predicate, ...] = ()


@dataclass(frozen=True, slots=True)
class ListenerFilterConfig:
    """One listener filter, and the connections that it leaves alone."""

    kind: TlsInspectorConfig | HttpInspectorConfig | OriginalDstConfig | ProxyProtocolConfig | RpcInspectorConfig
    disabled: Predicate | None = None


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """What is set on the sockets of a listener. ``options`` are (level, name, value) to be set before binding."""

    transparent: bool = False
    freebind: bool = False
    tcp_fast_open_queue_length: int = 0
    options: tuple[tuple[int, int, int | bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """One listener. ``content`` is the hash of the message it was compiled from: equal content means nothing to do.

    ``listener_filters_timeout`` in seconds, 0 = none. ``stat_prefix`` stands in the names of its stats; its address if empty.
    ``inbound``: its traffic_direction is INBOUND, for orders that concern such listeners only.
    """

    name: str
    address: Address
    filter_chains: tuple[FilterChain, ...]
    content: str
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    tcp_backlog_size: int = 1024
    reuse_port: bool = True
    additional_addresses: tuple[Address, ...] = ()
    default_filter_chain: FilterChain | None = None
    listener_filters: tuple[ListenerFilterConfig, ...] = ()
    listener_filters_timeout: float = 15.0
    continue_on_listener_filters_timeout: bool = False
    use_original_dst: bool = False
    bind_to_port: bool = True
    stat_prefix: str = ""
    socket_options: SocketOptions = SocketOptions()
    access_logs: tuple[AccessLogConfig, ...] = ()
    ignore_global_conn_limit: bool = False
    inbound: bool = False

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses, the main one first."""
        return (self.address, *self.additional_addresses)

    @property
    def all_chains(self) -> tuple[FilterChain, ...]:
        """All filter chains, the default one last."""
        return (
            self.filter_chains
            if self.default_filter_chain is None
            else (*self.filter_chains, self.default_filter_chain)
        )

    @property
    def discovered_filters(self) -> tuple[DiscoveredFilterConfig, ...]:
        """The HTTP filters whose configuration comes over xDS."""
        managers = [chain.network_filter for chain in self.all_chains]
        filters = [
            each for one in managers if isinstance(one, HttpConnectionManagerConfig) for each in one.http_filters
        ]
        return tuple([each.config for each in filters if isinstance(each.config, DiscoveredFilterConfig)])

    @property
    def scoped_routes(self) -> tuple[ScopedRoutesConfig, ...]:
        """The scopes of its connection managers that come over xDS."""
        return tuple([scoped for _, scoped in self._scoped()])

    @property
    def scoped_stats(self) -> tuple[str, ...]:
        """The prefixes of their stats."""
        return tuple([f"http.{prefix}.scoped_rds.{scoped.name}" for prefix, scoped in self._scoped()])

    def _scoped(self) -> Iterator[tuple[str, ScopedRoutesConfig]]:
        for chain in self.all_chains:
            manager = chain.network_filter
            route = manager.route if isinstance(manager, HttpConnectionManagerConfig) else None
            if isinstance(route, ScopedRoutesConfig) and route.scopes is None:
                yield manager.stat_prefix, route  # type: ignore[union-attr]
