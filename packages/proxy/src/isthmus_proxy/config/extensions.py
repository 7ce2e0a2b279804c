"""Extensions by type URL: which messages may stand in an ``Any``, and the module that defines each, imported when needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from isthmus_proxy.errors import ConfigError

_FILTERS = "envoy.extensions.filters"
_REDIRECT = "envoy.extensions.internal_redirect"
_MONITORS = "envoy.extensions.resource_monitors"
_BALANCING = "envoy.extensions.load_balancing_policies"
_COMPRESSION = "envoy.extensions.compression"
_MODULES = {
    f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager": "http_connection_manager",
    f"{_FILTERS}.network.tcp_proxy.v3.TcpProxy": "tcp_proxy",
    f"{_FILTERS}.network.direct_response.v3.Config": "config",
    f"{_FILTERS}.network.connection_limit.v3.ConnectionLimit": "connection_limit",
    f"{_FILTERS}.network.rbac.v3.RBAC": "rbac",
    f"{_FILTERS}.network.sni_cluster.v3.SniCluster": "sni_cluster",
    f"{_FILTERS}.listener.tls_inspector.v3.TlsInspector": "tls_inspector",
    f"{_FILTERS}.listener.http_inspector.v3.HttpInspector": "http_inspector",
    f"{_FILTERS}.listener.original_dst.v3.OriginalDst": "original_dst",
    f"{_FILTERS}.listener.proxy_protocol.v3.ProxyProtocol": "proxy_protocol",
    f"{_FILTERS}.http.router.v3.Router": "router",
    f"{_FILTERS}.http.bandwidth_limit.v3.BandwidthLimit": "bandwidth_limit",
    f"{_FILTERS}.http.buffer.v3.Buffer": "buffer",
    f"{_FILTERS}.http.buffer.v3.BufferPerRoute": "buffer",
    f"{_FILTERS}.http.header_to_metadata.v3.Config": "header_to_metadata",
    f"{_FILTERS}.http.compressor.v3.Compressor": "compressor",
    f"{_FILTERS}.http.compressor.v3.CompressorPerRoute": "compressor",
    f"{_FILTERS}.http.decompressor.v3.Decompressor": "decompressor",
    f"{_COMPRESSION}.gzip.compressor.v3.Gzip": "gzip",
    f"{_COMPRESSION}.gzip.decompressor.v3.Gzip": "gzip",
    f"{_COMPRESSION}.brotli.compressor.v3.Brotli": "brotli",
    f"{_COMPRESSION}.brotli.decompressor.v3.Brotli": "brotli",
    f"{_COMPRESSION}.zstd.compressor.v3.Zstd": "zstd",
    f"{_COMPRESSION}.zstd.decompressor.v3.Zstd": "zstd",
    f"{_FILTERS}.http.cors.v3.Cors": "cors",
    f"{_FILTERS}.http.cors.v3.CorsPolicy": "cors",
    f"{_FILTERS}.http.fault.v3.HTTPFault": "fault",
    f"{_FILTERS}.http.grpc_http1_bridge.v3.Config": "config",
    f"{_FILTERS}.http.grpc_stats.v3.FilterConfig": "config",
    f"{_FILTERS}.http.grpc_web.v3.GrpcWeb": "grpc_web",
    f"{_FILTERS}.http.health_check.v3.HealthCheck": "health_check",
    f"{_FILTERS}.http.header_mutation.v3.HeaderMutation": "header_mutation",
    f"{_FILTERS}.http.header_mutation.v3.HeaderMutationPerRoute": "header_mutation",
    f"{_FILTERS}.http.local_ratelimit.v3.LocalRateLimit": "local_rate_limit",
    f"{_FILTERS}.http.jwt_authn.v3.JwtAuthentication": "config",
    f"{_FILTERS}.http.jwt_authn.v3.PerRouteConfig": "config",
    f"{_FILTERS}.http.ext_authz.v3.ExtAuthz": "ext_authz",
    f"{_FILTERS}.http.ext_authz.v3.ExtAuthzPerRoute": "ext_authz",
    f"{_FILTERS}.http.ratelimit.v3.RateLimit": "rate_limit",
    f"{_FILTERS}.http.ratelimit.v3.RateLimitPerRoute": "rate_limit",
    f"{_FILTERS}.http.rbac.v3.RBAC": "rbac",
    f"{_FILTERS}.http.rbac.v3.RBACPerRoute": "rbac",
    "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink": "file",
    "envoy.config.route.v3.FilterConfig": "route_components",
    f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig": "fixed_heap",
    f"{_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig": "cgroup_memory",
    f"{_MONITORS}.injected_resource.v3.InjectedResourceConfig": "injected_resource",
    f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig": "downstream_connections",
    "xds.type.v3.TypedStruct": "typed_struct",
    "envoy.config.trace.v3.OpenTelemetryConfig": "opentelemetry",
    "envoy.config.trace.v3.ZipkinConfig": "zipkin",
    "envoy.config.metrics.v3.StatsdSink": "stats",
    "envoy.config.metrics.v3.DogStatsdSink": "stats",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": "file",
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": "als",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "stream",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "stream",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": "http_protocol_options",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": "previous_hosts",
    f"{_REDIRECT}.allow_listed_routes.v3.AllowListedRoutesConfig": "allow_listed_routes_config",
    f"{_REDIRECT}.previous_routes.v3.PreviousRoutesConfig": "previous_routes_config",
    f"{_REDIRECT}.safe_cross_scheme.v3.SafeCrossSchemeConfig": "safe_cross_scheme_config",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": "previous_priorities_config",
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate": "omit_canary_hosts",
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig": "omit_host_metadata_config",
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "uri_template_match",
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": "uri_template_rewrite",
    f"{_BALANCING}.round_robin.v3.RoundRobin": "round_robin",
    f"{_BALANCING}.least_request.v3.LeastRequest": "least_request",
    f"{_BALANCING}.random.v3.Random": "random",
    f"{_BALANCING}.ring_hash.v3.RingHash": "ring_hash",
    f"{_BALANCING}.maglev.v3.Maglev": "maglev",
    f"{_BALANCING}.subset.v3.Subset": "subset",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": "raw_buffer",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": "tls",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": "tls",
    "envoy.extensions.transport_sockets.tls.v3.Secret": "secret",
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": "upstream_proxy_protocol",
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig": "xff",
    "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig": "preserve_case",
    "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig": "getaddrinfo_dns_resolver",
    "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig": "cares_dns_resolver",
}
"""Full message name -> last part of its module's name, in the package that the message name gives."""

TYPED_STRUCT = "xds.type.v3.TypedStruct"
_OURS = "isthmus."

M = TypeVar("M", bound=Message)


def name_of(type_url: str) -> str:
    """Return the message name of a type URL (``type.googleapis.com/envoy...``)."""
    return type_url.rpartition("/")[2]


def message_class(type_url: str, path: str) -> type[Message]:
    """Return the message class of ``type_url``. Raises ConfigError at ``path`` when the proxy has no such extension."""
    name = name_of(type_url)
    module = _MODULES.get(name)
    if module is None:
        raise ConfigError(path, type_url or "(no type URL)", "extension is not supported; see docs/reference/proxy.md")
    package, _, short = name.rpartition(".")
    found: type[Message] = getattr(import_module(f"{package}.{module}_pb2"), short)
    return found


def unpack(message: AnyMessage, path: str) -> Message:
    """Return the message inside ``message``. Raises ConfigError at ``path``."""
    unpacked = message_class(message.type_url, path)()
    try:
        unpacked.ParseFromString(message.value)
    except DecodeError as error:
        raise ConfigError(path, message.type_url, f"its bytes are no such message: {error}") from error
    return unpacked


def own_name_of(message: AnyMessage, path: str) -> str:
    """Return the message name inside ``message``; of a TypedStruct with an extension of ours, that extension's name."""
    name = name_of(message.type_url)
    if name != TYPED_STRUCT:
        return name
    struct: Any = unpack(message, path)
    own = name_of(struct.type_url)
    return own if own.startswith(_OURS) else name


def unpack_as(message: AnyMessage, path: str, *names: str) -> Message:
    """Return the message inside ``message``, which must be one of ``names`` (full message names)."""
    if name_of(message.type_url) not in names:
        allowed = " or ".join(names)
        raise ConfigError(path, message.type_url or "(no type URL)", f"only {allowed} is supported here")
    return unpack(message, path)
