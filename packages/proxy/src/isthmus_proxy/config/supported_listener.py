"""Supported fields of listeners, network filters and access logs."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_NETWORK = "envoy.extensions.filters.network"
_LISTENER = "envoy.extensions.filters.listener"
_TRACE = "envoy.config.trace.v3"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3"
_TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_LOG = "envoy.extensions.access_loggers"
_NO_HTTP3 = "HTTP/3 is not spoken downstream"

_ACCESS = "envoy.config.accesslog.v3"
_LOG_FILTERS = {
    f"{_ACCESS}.AccessLogFilter": message(
        "status_code_filter duration_filter not_health_check_filter traceable_filter runtime_filter and_filter or_filter "
        "header_filter response_flag_filter grpc_status_filter log_type_filter"
    ),
    f"{_ACCESS}.StatusCodeFilter": message("comparison"),
    f"{_ACCESS}.DurationFilter": message("comparison"),
    f"{_ACCESS}.ComparisonFilter": message("op value"),
    f"{_ACCESS}.NotHealthCheckFilter": message(),
    f"{_ACCESS}.TraceableFilter": message(),
    f"{_ACCESS}.RuntimeFilter": message("runtime_key percent_sampled use_independent_randomness"),
    f"{_ACCESS}.AndFilter": message("filters"),
    f"{_ACCESS}.OrFilter": message("filters"),
    f"{_ACCESS}.HeaderFilter": message("header"),
    f"{_ACCESS}.ResponseFlagFilter": message("flags"),
    f"{_ACCESS}.GrpcStatusFilter": message("statuses exclude"),
    f"{_ACCESS}.LogTypeFilter": message("types exclude"),
    "envoy.config.core.v3.RuntimeUInt32": message("default_value runtime_key"),
}

LISTENER: dict[str, MessageRules] = {
    "envoy.config.listener.v3.Listener": message(
        "name address ignore_global_conn_limit additional_addresses filter_chains default_filter_chain per_connection_buffer_limit_bytes "
        "tcp_backlog_size enable_reuse_port stat_prefix listener_filters listener_filters_timeout "
        "continue_on_listener_filters_timeout use_original_dst bind_to_port deprecated_v1 transparent freebind "
        "tcp_fast_open_queue_length socket_options access_log traffic_direction",
        only={"bypass_overload_manager": False, "drain_type": ("DEFAULT", "MODIFY_ONLY")},
        no_effect={
            "a label": "metadata",
            "the accept loop bounds itself": "max_connections_to_accept_per_socket_event",
            "each worker has a socket and an accept queue of its own": "connection_balance_config",
        },
    ),
    "envoy.config.listener.v3.AdditionalAddress": message("address"),
    "envoy.config.listener.v3.Listener.DeprecatedV1": message("bind_to_port"),
    "envoy.config.listener.v3.ListenerFilter": message(
        "typed_config filter_disabled", no_effect={"the type URL decides": "name"}
    ),
    "envoy.config.listener.v3.ListenerFilterChainMatchPredicate": message(
        "or_match and_match not_match any_match destination_port_range"
    ),
    "envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": message("rules"),
    "envoy.type.v3.Int32Range": message("start end"),
    f"{_LISTENER}.tls_inspector.v3.TlsInspector": message(
        "max_client_hello_size",
        only={
            "enable_ja3_fingerprinting": False,
            "enable_ja4_fingerprinting": False,
            "close_connection_on_client_hello_parsing_errors": False,
        },
        no_effect={"bytes stay in the kernel": "initial_read_buffer_size"},
    ),
    f"{_LISTENER}.http_inspector.v3.HttpInspector": message(),
    f"{_LISTENER}.original_dst.v3.OriginalDst": message(),
    f"{_LISTENER}.proxy_protocol.v3.ProxyProtocol": message(
        "allow_requests_without_proxy_protocol disallowed_versions stat_prefix"
    ),
    "envoy.config.listener.v3.FilterChain": message(
        "filters name filter_chain_match transport_socket transport_socket_connect_timeout",
        no_effect={"a label": "metadata"},
    ),
    "envoy.config.listener.v3.FilterChainMatch": message(
        "destination_port prefix_ranges server_names transport_protocol application_protocols "
        "direct_source_prefix_ranges source_type source_prefix_ranges source_ports"
    ),
    "envoy.config.core.v3.CidrRange": message("address_prefix prefix_len"),
    "envoy.config.core.v3.SocketOption": message(
        "level name int_value buf_value state", no_effect={"a label": "description"}
    ),
    "envoy.config.listener.v3.Filter": message("typed_config", no_effect={"the type URL decides": "name"}),
    f"{_HCM}.HttpConnectionManager": message(
        "stat_prefix rds route_config scoped_routes http_filters common_http_protocol_options http_protocol_options server_name "
        "server_header_transformation max_request_headers_kb stream_idle_timeout request_timeout request_headers_timeout "
        "delayed_close_timeout drain_timeout http2_protocol_options tracing "
        "access_log use_remote_address xff_num_trusted_hops internal_address_config "
        "skip_xff_append via generate_request_id preserve_external_request_id upgrade_configs normalize_path merge_slashes "
        "path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port strip_trailing_host_dot "
        "stream_error_on_invalid_http_message always_set_request_id_in_response append_x_forwarded_port "
        "scheme_header_transformation local_reply_config original_ip_detection_extensions "
        "set_current_client_cert_details proxy_100_continue",
        only={
            "codec_type": ("AUTO", "HTTP1", "HTTP2"),
            "forward_client_cert_details": (
                "SANITIZE",
                "FORWARD_ONLY",
                "APPEND_FORWARD",
                "SANITIZE_SET",
                "ALWAYS_FORWARD_ONLY",
            ),
        },
        no_effect={
            _NO_HTTP3: "http3_protocol_options",
            "an old connection always ends with a response, or idle": "http1_safe_max_connection_duration",
        },
    ),
    f"{_HCM}.HttpConnectionManager.SetCurrentClientCertDetails": message(
        "subject cert dns uri",
        only={"chain": False},
    ),
    f"{_HCM}.HttpConnectionManager.Tracing": message(
        "client_sampling random_sampling overall_sampling max_path_tag_length custom_tags provider",
        only={"verbose": False, "spawn_upstream_span": False},
    ),
    f"{_TRACE}.Tracing.Http": message("typed_config", no_effect={"the type URL decides": "name"}),
    f"{_TRACE}.OpenTelemetryConfig": message("grpc_service http_service service_name max_cache_size"),
    f"{_TRACE}.ZipkinConfig": message(
        "collector_cluster collector_endpoint trace_id_128bit shared_span_context collector_hostname",
        only={
            "collector_endpoint_version": "HTTP_JSON",
            "split_spans_for_request": False,
            "trace_context_option": "USE_B3",
        },
    ),
    "envoy.config.core.v3.HttpService": message("http_uri request_headers_to_add"),
    "envoy.config.core.v3.HttpUri": message("uri cluster timeout"),
    f"{_HCM}.HttpConnectionManager.UpgradeConfig": message("upgrade_type enabled"),
    f"{_HCM}.HttpConnectionManager.InternalAddressConfig": message(
        "cidr_ranges", no_effect={"nobody connects over a Unix socket": "unix_sockets"}
    ),
    "envoy.config.core.v3.SchemeHeaderTransformation": message(
        "scheme_to_overwrite", no_effect={"HTTP/1 sends no scheme upstream": "match_upstream"}
    ),
    "envoy.config.core.v3.TypedExtensionConfig": message("typed_config", no_effect={"the type URL decides": "name"}),
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig": message("xff_num_trusted_hops skip_xff_append"),
    f"{_HCM}.Rds": message("config_source route_config_name"),
    f"{_HCM}.ScopedRoutes": message(
        "name scope_key_builder rds_config_source scoped_rds", elsewhere="scoped_route_configurations_list"
    ),
    f"{_HCM}.ScopedRds": message("scoped_rds_config_source"),
    f"{_HCM}.ScopedRoutes.ScopeKeyBuilder": message("fragments"),
    f"{_HCM}.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder": message("header_value_extractor"),
    f"{_HCM}.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor": message(
        "name element_separator index element"
    ),
    f"{_HCM}.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement": message("separator key"),
    f"{_HCM}.HttpFilter": message(
        "name typed_config config_discovery disabled", no_effect={"the filter is known": "is_optional"}
    ),
    "envoy.extensions.filters.http.router.v3.Router": message(
        "suppress_envoy_headers",
        no_effect={
            "decides which stats exist": "dynamic_stats suppress_grpc_request_failure_code_stats",
            "checked where tracing is compiled": "start_child_span",
        },
    ),
    "envoy.config.core.v3.HttpProtocolOptions": message(
        "idle_timeout max_headers_count max_requests_per_connection max_connection_duration headers_with_underscores_action"
    ),
    "envoy.config.core.v3.Http1ProtocolOptions": message(
        "accept_http_10 enable_trailers default_host_for_http_10 allow_absolute_url override_stream_error_on_invalid_http_message "
        "header_key_format",
        no_effect={"names a codec of Envoy": "use_balsa_parser"},
    ),
    "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat": message("proper_case_words stateful_formatter"),
    "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords": message(),
    "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig": message(
        "formatter_type_on_envoy_headers", only={"forward_reason_phrase": False}
    ),
    f"{_NETWORK}.direct_response.v3.Config": message("response"),
    f"{_NETWORK}.connection_limit.v3.ConnectionLimit": message("stat_prefix max_connections delay"),
    f"{_NETWORK}.sni_cluster.v3.SniCluster": message(),
    _TCP: message(
        "stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts hash_policy metadata_match "
        "max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage"
    ),
    "envoy.type.v3.HashPolicy": message("source_ip"),
    "envoy.type.v3.HashPolicy.SourceIp": message(),
    f"{_TCP}.WeightedCluster": message("clusters"),
    f"{_TCP}.WeightedCluster.ClusterWeight": message("name weight metadata_match"),
    **_LOG_FILTERS,
    f"{_HCM}.LocalReplyConfig": message("mappers body_format"),
    f"{_HCM}.ResponseMapper": message("filter status_code body body_format_override headers_to_add"),
    "envoy.config.accesslog.v3.AccessLog": message("typed_config filter", no_effect={"the type URL decides": "name"}),
    f"{_LOG}.file.v3.FileAccessLog": message("path format json_format typed_json_format log_format"),
    f"{_LOG}.stream.v3.StdoutAccessLog": message("log_format"),
    f"{_LOG}.grpc.v3.HttpGrpcAccessLogConfig": message(
        "common_config additional_request_headers_to_log additional_response_headers_to_log"
    ),
    f"{_LOG}.grpc.v3.CommonGrpcAccessLogConfig": message(
        "log_name grpc_service buffer_flush_interval buffer_size_bytes", only={"transport_api_version": ("V3", "AUTO")}
    ),
    f"{_LOG}.stream.v3.StderrAccessLog": message("log_format"),
    "envoy.config.core.v3.SubstitutionFormatString": message(
        "text_format json_format text_format_source omit_empty_values content_type",
        no_effect={"keys are always sorted": "json_format_options"},
    ),
}
