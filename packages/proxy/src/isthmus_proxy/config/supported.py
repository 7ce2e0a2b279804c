"""Every message type that may occur in a configuration, with its fields. See ``rules`` for how to read a row."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message
from isthmus_proxy.config.supported_cluster import CLUSTER
from isthmus_proxy.config.supported_ext_authz import EXT_AUTHZ
from isthmus_proxy.config.supported_http_filters import HTTP_FILTERS
from isthmus_proxy.config.supported_jwt import JWT
from isthmus_proxy.config.supported_listener import LISTENER
from isthmus_proxy.config.supported_ratelimit import RATELIMIT
from isthmus_proxy.config.supported_rbac import RBAC
from isthmus_proxy.config.supported_route import ROUTE
from isthmus_proxy.config.supported_tls import TLS

_C = "envoy.config"
_B = "envoy.config.bootstrap.v3"

BOOTSTRAP: dict[str, MessageRules] = {
    f"{_B}.Bootstrap": message(
        "node static_resources dynamic_resources admin layered_runtime cluster_manager overload_manager "
        "stats_config stats_sinks stats_flush_interval bootstrap_extensions",
        no_effect={
            "what is not yet sent is seen by nobody else": "stats_flush_on_admin",
            "stats go with what they are of": "stats_eviction_interval deferred_stat_options",
            "concerns Envoy's own threads": "watchdog watchdogs enable_dispatcher_stats fatal_actions",
            "names a directory of feature flags": "flags_path",
            "concerns Envoy's allocator": "memory_allocator_manager",
            "concerns Envoy's profiler": "perf_tracing_file_path",
            "concerns the program's own log": "application_log_config",
            "names are resolved by the system": "use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config",
            "caches of clients that do not exist here": "grpc_async_client_manager_config",
            "shows in server_info only": "stats_server_version_override",
        },
    ),
    f"{_C}.metrics.v3.StatsConfig": message("stats_tags stats_matcher histogram_bucket_settings use_all_default_tags"),
    f"{_C}.metrics.v3.TagSpecifier": message("tag_name regex fixed_value"),
    f"{_C}.metrics.v3.StatsMatcher": message("reject_all exclusion_list inclusion_list"),
    f"{_C}.metrics.v3.HistogramBucketSettings": message("match buckets"),
    "envoy.type.matcher.v3.ListStringMatcher": message("patterns"),
    f"{_C}.metrics.v3.StatsSink": message("typed_config", no_effect={"the type URL decides": "name"}),
    f"{_C}.metrics.v3.StatsdSink": message("tcp_cluster_name prefix", elsewhere="address"),
    f"{_C}.metrics.v3.DogStatsdSink": message("prefix max_bytes_per_datagram", elsewhere="address"),
    f"{_B}.Bootstrap.StaticResources": message(elsewhere="listeners clusters secrets"),
    f"{_B}.Bootstrap.DynamicResources": message("lds_config cds_config ads_config"),
    f"{_B}.Admin": message(
        "address",
        no_effect={
            "the admin server logs nothing": "access_log access_log_path",
            "there is no CPU profiler": "profile_path",
            "the admin port has its own limit": "ignore_global_conn_limit",
        },
    ),
    f"{_B}.ClusterManager": message(
        "outlier_detection local_cluster_name load_stats_config",
        no_effect={
            "clusters are always built on first use": "enable_deferred_cluster_creation",
        },
    ),
    f"{_B}.ClusterManager.OutlierDetection": message("event_log_path"),
    f"{_B}.LayeredRuntime": message("layers"),
    f"{_B}.RuntimeLayer": message("name admin_layer rtds_layer", elsewhere="static_layer"),
    f"{_B}.RuntimeLayer.RtdsLayer": message("name rtds_config"),
    f"{_B}.RuntimeLayer.AdminLayer": message(),
    f"{_C}.core.v3.Node": message(
        no_effect={
            "sent to the control plane as it is": "id cluster metadata dynamic_parameters locality client_features "
            "user_agent_name user_agent_version user_agent_build_version extensions listening_addresses"
        }
    ),
    f"{_C}.core.v3.Address": message("socket_address pipe"),
    f"{_C}.core.v3.Pipe": message("path mode"),
    f"{_C}.core.v3.SocketAddress": message(
        "address port_value",
        only={"protocol": "TCP"},
        no_effect={"an IPv6 socket here takes no IPv4 either way": "ipv4_compat"},
    ),
    f"{_C}.core.v3.ConfigSource": message(
        "api_config_source ads path path_config_source initial_fetch_timeout",
        only={"resource_api_version": ("V3", "AUTO")},
    ),
    f"{_C}.core.v3.AggregatedConfigSource": message(),
    f"{_C}.core.v3.ExtensionConfigSource": message(
        "config_source default_config apply_default_config_without_warming type_urls"
    ),
    f"{_C}.core.v3.ApiConfigSource": message(
        "grpc_services set_node_on_first_message_only",
        only={"api_type": ("GRPC", "DELTA_GRPC"), "transport_api_version": ("V3", "AUTO")},
        no_effect={
            "of REST sources only": "refresh_delay request_timeout",
            "updates are merged anyway": "rate_limit_settings",
        },
    ),
    f"{_C}.core.v3.GrpcService": message(
        "envoy_grpc", no_effect={"a stream of configuration has no deadline": "timeout"}
    ),
    f"{_C}.core.v3.GrpcService.EnvoyGrpc": message(
        "cluster_name retry_policy", no_effect={"sent to the control plane only": "authority skip_envoy_headers"}
    ),
    f"{_C}.core.v3.RetryPolicy": message("retry_back_off"),
    f"{_C}.core.v3.BackoffStrategy": message("base_interval max_interval"),
    f"{_C}.core.v3.RuntimeDouble": message("default_value", no_effect={"there is no run-time layer": "runtime_key"}),
    f"{_C}.core.v3.RuntimeFractionalPercent": message("default_value runtime_key"),
    f"{_C}.core.v3.DataSource": message("inline_string inline_bytes filename"),
    f"{_C}.core.v3.TypedExtensionConfig": message("typed_config", no_effect={"the type URL decides": "name"}),
    f"{_C}.core.v3.TransportSocket": message("typed_config", no_effect={"the type URL decides": "name"}),
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": message(),
    "envoy.type.v3.Percent": message("value"),
    "envoy.type.v3.FractionalPercent": message("numerator denominator"),
    "envoy.type.v3.Int64Range": message("start end"),
}

_MONITORS = "envoy.extensions.resource_monitors"
_OVERLOAD = "envoy.config.overload.v3"

OVERLOAD: dict[str, MessageRules] = {
    f"{_OVERLOAD}.OverloadManager": message("refresh_interval resource_monitors actions"),
    f"{_OVERLOAD}.ResourceMonitor": message("name typed_config"),
    f"{_OVERLOAD}.OverloadAction": message("name triggers"),
    f"{_OVERLOAD}.Trigger": message("name threshold scaled"),
    f"{_OVERLOAD}.ThresholdTrigger": message("value"),
    f"{_OVERLOAD}.ScaledTrigger": message("scaling_threshold saturation_threshold"),
    f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig": message("max_heap_size_bytes"),
    f"{_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig": message("max_memory_bytes"),
    f"{_MONITORS}.injected_resource.v3.InjectedResourceConfig": message("filename"),
    f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig": message("max_active_downstream_connections"),
    "xds.type.v3.TypedStruct": message(elsewhere="type_url value"),
}

SUPPORTED: dict[str, MessageRules] = {
    **BOOTSTRAP,
    **OVERLOAD,
    **LISTENER,
    **CLUSTER,
    **ROUTE,
    **HTTP_FILTERS,
    **RBAC,
    **JWT,
    **TLS,
    **EXT_AUTHZ,
    **RATELIMIT,
}
"""Full message name -> its rules. ``google.protobuf`` messages are leaves and have no row."""
