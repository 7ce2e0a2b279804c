"""Supported fields of listeners, network filters and access logs."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3"
_TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_LOG = "envoy.extensions.access_loggers"
_NO_HTTP2 = "HTTP/2 and HTTP/3 are not spoken downstream"
_NO_TLS = "connections are not TLS"

LISTENER: dict[str, MessageRules] = {
    "envoy.config.listener.v3.Listener": message(
        "name address filter_chains default_filter_chain per_connection_buffer_limit_bytes tcp_backlog_size enable_reuse_port",
        only={"bind_to_port": True, "drain_type": ("DEFAULT", "MODIFY_ONLY")},
        no_effect={
            "a label of stats": "stat_prefix",
            "a label": "metadata traffic_direction",
            "there are no listener filters to wait for": "listener_filters_timeout continue_on_listener_filters_timeout",
            "the accept loop bounds itself": "max_connections_to_accept_per_socket_event",
            "there is no overload manager": "ignore_global_conn_limit bypass_overload_manager",
        },
    ),
    "envoy.config.listener.v3.FilterChain": message(
        "filters name filter_chain_match transport_socket",
        no_effect={"a label": "metadata", _NO_TLS: "transport_socket_connect_timeout"},
    ),
    "envoy.config.listener.v3.FilterChainMatch": message(),
    "envoy.config.listener.v3.Filter": message("typed_config", no_effect={"the type URL decides": "name"}),
    f"{_HCM}.HttpConnectionManager": message(
        "stat_prefix rds route_config http_filters common_http_protocol_options http_protocol_options server_name "
        "server_header_transformation max_request_headers_kb stream_idle_timeout request_timeout request_headers_timeout "
        "delayed_close_timeout access_log use_remote_address xff_num_trusted_hops internal_address_config "
        "skip_xff_append via generate_request_id preserve_external_request_id upgrade_configs normalize_path merge_slashes "
        "path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port strip_trailing_host_dot "
        "stream_error_on_invalid_http_message always_set_request_id_in_response append_x_forwarded_port "
        "scheme_header_transformation original_ip_detection_extensions",
        only={
            "codec_type": ("AUTO", "HTTP1"),
            # Without TLS there is no certificate to speak of: Envoy removes the header under all values but the last.
            "forward_client_cert_details": (
                "SANITIZE",
                "FORWARD_ONLY",
                "APPEND_FORWARD",
                "SANITIZE_SET",
                "ALWAYS_FORWARD_ONLY",
            ),
        },
        no_effect={
            _NO_HTTP2: "http2_protocol_options http3_protocol_options",
            _NO_TLS: "set_current_client_cert_details",
            "the grace between two HTTP/2 GOAWAY frames": "drain_timeout",
            "max_connection_duration is not supported": "http1_safe_max_connection_duration",
        },
    ),
    f"{_HCM}.HttpConnectionManager.UpgradeConfig": message("upgrade_type enabled"),
    f"{_HCM}.HttpConnectionManager.InternalAddressConfig": message(
        "cidr_ranges", no_effect={"nobody connects over a Unix socket": "unix_sockets"}
    ),
    "envoy.config.core.v3.CidrRange": message("address_prefix prefix_len"),
    "envoy.config.core.v3.SchemeHeaderTransformation": message(
        "scheme_to_overwrite", no_effect={"HTTP/1 sends no scheme upstream": "match_upstream"}
    ),
    "envoy.config.core.v3.TypedExtensionConfig": message("typed_config", no_effect={"the type URL decides": "name"}),
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig": message("xff_num_trusted_hops skip_xff_append"),
    f"{_HCM}.Rds": message("config_source route_config_name"),
    f"{_HCM}.HttpFilter": message(
        "typed_config",
        no_effect={"the type URL decides": "name", "the filter is known": "is_optional"},
    ),
    "envoy.extensions.filters.http.router.v3.Router": message(
        "suppress_envoy_headers",
        no_effect={
            "decides which stats exist": "dynamic_stats suppress_grpc_request_failure_code_stats",
            "there is no tracing": "start_child_span",
        },
    ),
    "envoy.config.core.v3.HttpProtocolOptions": message(
        "idle_timeout max_headers_count max_requests_per_connection headers_with_underscores_action"
    ),
    "envoy.config.core.v3.Http1ProtocolOptions": message(
        "accept_http_10 default_host_for_http_10 allow_absolute_url override_stream_error_on_invalid_http_message",
        no_effect={"names a codec of Envoy": "use_balsa_parser"},
    ),
    _TCP: message("stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts"),
    f"{_TCP}.WeightedCluster": message("clusters"),
    f"{_TCP}.WeightedCluster.ClusterWeight": message("name weight"),
    "envoy.config.accesslog.v3.AccessLog": message("typed_config", no_effect={"the type URL decides": "name"}),
    f"{_LOG}.file.v3.FileAccessLog": message("path format json_format typed_json_format log_format"),
    f"{_LOG}.stream.v3.StdoutAccessLog": message("log_format"),
    f"{_LOG}.stream.v3.StderrAccessLog": message("log_format"),
    "envoy.config.core.v3.SubstitutionFormatString": message(
        "text_format json_format text_format_source omit_empty_values",
        no_effect={"of local replies only": "content_type", "keys are always sorted": "json_format_options"},
    ),
}
