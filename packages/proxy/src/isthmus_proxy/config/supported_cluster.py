"""Supported fields of clusters and endpoints."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message
from isthmus_proxy.config.supported_load_balancing import LOAD_BALANCING

_CLUSTER = "envoy.config.cluster.v3"
_ENDPOINT = "envoy.config.endpoint.v3"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CHECK = "envoy.config.core.v3.HealthCheck"
_FILE_SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_DNS = "names are resolved by the system"

CLUSTER: dict[str, MessageRules] = {
    **LOAD_BALANCING,
    f"{_CLUSTER}.Cluster": message(
        "name original_dst_lb_config cleanup_interval health_checks "
        "ignore_health_on_host_removal close_connections_on_host_health_failure alt_stat_name "
        "eds_cluster_config connect_timeout per_connection_buffer_limit_bytes load_assignment circuit_breakers "
        "outlier_detection max_requests_per_connection common_http_protocol_options http_protocol_options "
        "http2_protocol_options typed_extension_protocol_options dns_refresh_rate dns_failure_refresh_rate "
        "dns_lookup_family least_request_lb_config round_robin_lb_config ring_hash_lb_config maglev_lb_config "
        "lb_subset_config load_balancing_policy common_lb_config transport_socket transport_socket_matches "
        "upstream_http_protocol_options upstream_connection_options",
        only={
            "type": ("STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"),
            "lb_policy": (
                "ROUND_ROBIN",
                "LEAST_REQUEST",
                "RANDOM",
                "RING_HASH",
                "MAGLEV",
                "LOAD_BALANCING_POLICY_CONFIG",
                "CLUSTER_PROVIDED",
            ),
            "protocol_selection": "USE_CONFIGURED_PROTOCOL",
            "connection_pool_per_downstream_connection": False,
        },
        no_effect={
            _DNS: "dns_resolvers use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config",
            "the system's resolver tells no time to live; dns_refresh_rate holds": "respect_dns_ttl",
            "lookups of many clusters are limited, so they need no spreading": "dns_jitter",
            "every cluster waits for its first endpoints": "wait_for_warm_on_init",
            "a label": "metadata",
            "decides which stats exist": "track_timeout_budgets track_cluster_stats",
        },
    ),
    f"{_CLUSTER}.Cluster.TransportSocketMatch": message("name transport_socket", elsewhere="match"),
    f"{_CLUSTER}.Cluster.EdsClusterConfig": message("eds_config service_name"),
    f"{_CLUSTER}.Cluster.OriginalDstLbConfig": message("use_http_header http_header_name upstream_port_override"),
    f"{_CLUSTER}.Cluster.RefreshRate": message("base_interval max_interval"),
    f"{_CLUSTER}.Cluster.CommonLbConfig": message(
        "healthy_panic_threshold ignore_new_hosts_until_first_hc close_connections_on_host_set_change "
        "zone_aware_lb_config locality_weighted_lb_config "
        "consistent_hashing_lb_config",
        no_effect={
            "every update is applied at once": "update_merge_window",
            "of stateful sessions only": "override_host_status",
        },
    ),
    f"{_CLUSTER}.UpstreamConnectionOptions": message(
        "tcp_keepalive happy_eyeballs_config", only={"set_local_interface_name_on_upstream_connections": False}
    ),
    f"{_CLUSTER}.UpstreamConnectionOptions.HappyEyeballsConfig": message(
        "first_address_family_count", only={"first_address_family_version": ("DEFAULT", "V4", "V6")}
    ),
    "envoy.config.core.v3.TcpKeepalive": message("keepalive_probes keepalive_time keepalive_interval"),
    f"{_CLUSTER}.OutlierDetection": message(
        "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx enforcing_success_rate "
        "success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure "
        "enforcing_consecutive_gateway_failure split_external_local_origin_errors consecutive_local_origin_failure "
        "enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate failure_percentage_threshold "
        "enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts "
        "failure_percentage_request_volume max_ejection_time max_ejection_time_jitter "
        "successful_active_health_check_uneject_host always_eject_one_host"
    ),
    f"{_CLUSTER}.CircuitBreakers": message("thresholds per_host_thresholds"),
    f"{_CLUSTER}.CircuitBreakers.Thresholds": message(
        "max_connections max_pending_requests max_requests max_retries max_connection_pools retry_budget track_remaining",
        only={"priority": ("DEFAULT", "HIGH")},
    ),
    f"{_CLUSTER}.CircuitBreakers.Thresholds.RetryBudget": message("budget_percent min_retry_concurrency"),
    _HTTP: message(
        "common_http_protocol_options explicit_http_config use_downstream_protocol_config upstream_http_protocol_options",
    ),
    "envoy.config.core.v3.UpstreamHttpProtocolOptions": message("auto_sni auto_san_validation"),
    f"{_HTTP}.ExplicitHttpConfig": message("http_protocol_options http2_protocol_options"),
    f"{_HTTP}.UseDownstreamHttpConfig": message(
        "http_protocol_options",
    ),
    "envoy.config.core.v3.Http2ProtocolOptions": message(
        "hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size "
        "connection_keepalive max_outbound_frames max_outbound_control_frames "
        "max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream "
        "max_inbound_window_update_frames_per_data_frame_sent allow_connect",
        no_effect={
            "there is one codec": "use_oghttp2_codec",
            "METADATA frames are ignored": "max_metadata_size",
            "a malformed message ends its stream, never the others": "stream_error_on_invalid_http_messaging "
            "override_stream_error_on_invalid_http_message",
        },
        only={"allow_metadata": False},
    ),
    "envoy.config.core.v3.KeepaliveSettings": message("interval timeout"),
    f"{_ENDPOINT}.ClusterLoadAssignment": message("cluster_name endpoints policy"),
    f"{_ENDPOINT}.ClusterLoadAssignment.Policy": message("overprovisioning_factor weighted_priority_health"),
    f"{_ENDPOINT}.LocalityLbEndpoints": message(
        "locality lb_endpoints load_balancing_weight priority",
        no_effect={"a label": "metadata", "of zone-aware load balancing only": "proximity"},
    ),
    f"{_ENDPOINT}.LbEndpoint": message("endpoint health_status metadata load_balancing_weight"),
    f"{_ENDPOINT}.Endpoint": message("address hostname health_check_config additional_addresses"),
    f"{_ENDPOINT}.Endpoint.AdditionalAddress": message("address"),
    f"{_ENDPOINT}.Endpoint.HealthCheckConfig": message("port_value hostname address disable_active_health_check"),
    _CHECK: message(
        "timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold healthy_threshold "
        "reuse_connection http_health_check tcp_health_check grpc_health_check no_traffic_interval no_traffic_healthy_interval "
        "unhealthy_interval unhealthy_edge_interval healthy_edge_interval event_log_path event_logger "
        "always_log_health_check_failures always_log_health_check_success tls_options transport_socket_match_criteria",
        no_effect={
            "Envoy does not use it either; port_value of health_check_config is used": "alt_port",
        },
    ),
    f"{_CHECK}.TlsOptions": message("alpn_protocols"),
    f"{_CHECK}.HttpHealthCheck": message(
        "host path receive response_buffer_size request_headers_to_add request_headers_to_remove expected_statuses "
        "retriable_statuses method",
        only={"codec_client_type": ("HTTP1", "HTTP2")},
    ),
    f"{_CHECK}.TcpHealthCheck": message("send receive"),
    f"{_CHECK}.GrpcHealthCheck": message("service_name authority initial_metadata"),
    f"{_CHECK}.Payload": message("text binary"),
    _FILE_SINK: message("event_log_path"),
    "envoy.config.core.v3.Locality": message("region zone sub_zone"),
    "envoy.config.core.v3.Metadata": message("filter_metadata", no_effect={"a label": "typed_filter_metadata"}),
}
