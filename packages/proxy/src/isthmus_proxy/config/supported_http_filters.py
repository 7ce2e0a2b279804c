"""Supported fields of HTTP filters and of what routes say of them."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_HTTP = "envoy.extensions.filters.http"
_COMPRESSION = "envoy.extensions.compression"
_BUFFERS = "how memory is allocated"
_FAULT = "envoy.extensions.filters.common.fault.v3"
_RUNTIME_KEYS = (
    "delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime "
    "max_active_faults_runtime abort_grpc_status_runtime"
)

HTTP_FILTERS: dict[str, MessageRules] = {
    f"{_HTTP}.bandwidth_limit.v3.BandwidthLimit": message(
        "stat_prefix enable_mode limit_kbps fill_interval runtime_enabled enable_response_trailers response_trailer_prefix"
    ),
    f"{_HTTP}.buffer.v3.Buffer": message("max_request_bytes"),
    f"{_HTTP}.buffer.v3.BufferPerRoute": message("disabled buffer"),
    f"{_HTTP}.compressor.v3.Compressor": message(
        "compressor_library request_direction_config response_direction_config choose_first"
    ),
    f"{_HTTP}.compressor.v3.Compressor.CommonDirectionConfig": message("enabled min_content_length content_type"),
    f"{_HTTP}.compressor.v3.Compressor.RequestDirectionConfig": message("common_config"),
    f"{_HTTP}.compressor.v3.Compressor.ResponseDirectionConfig": message(
        "common_config disable_on_etag_header remove_accept_encoding_header uncompressible_response_codes"
    ),
    f"{_HTTP}.compressor.v3.CompressorPerRoute": message("disabled overrides"),
    f"{_HTTP}.compressor.v3.CompressorOverrides": message("response_direction_config"),
    f"{_HTTP}.compressor.v3.ResponseDirectionOverrides": message("remove_accept_encoding_header"),
    f"{_HTTP}.decompressor.v3.Decompressor": message(
        "decompressor_library request_direction_config response_direction_config"
    ),
    f"{_HTTP}.decompressor.v3.Decompressor.CommonDirectionConfig": message("enabled ignore_no_transform_header"),
    f"{_HTTP}.decompressor.v3.Decompressor.RequestDirectionConfig": message("common_config advertise_accept_encoding"),
    f"{_HTTP}.decompressor.v3.Decompressor.ResponseDirectionConfig": message("common_config"),
    f"{_COMPRESSION}.gzip.compressor.v3.Gzip": message(
        "memory_level compression_level compression_strategy window_bits", no_effect={_BUFFERS: "chunk_size"}
    ),
    f"{_COMPRESSION}.gzip.decompressor.v3.Gzip": message(
        "window_bits max_inflate_ratio", no_effect={_BUFFERS: "chunk_size"}
    ),
    f"{_COMPRESSION}.brotli.compressor.v3.Brotli": message("quality window_bits", no_effect={_BUFFERS: "chunk_size"}),
    f"{_COMPRESSION}.brotli.decompressor.v3.Brotli": message(
        no_effect={_BUFFERS: "chunk_size disable_ring_buffer_reallocation"}
    ),
    f"{_COMPRESSION}.zstd.compressor.v3.Zstd": message(
        "compression_level enable_checksum", no_effect={_BUFFERS: "chunk_size"}
    ),
    f"{_COMPRESSION}.zstd.decompressor.v3.Zstd": message(no_effect={_BUFFERS: "chunk_size"}),
    f"{_HTTP}.header_to_metadata.v3.Config": message("request_rules response_rules"),
    f"{_HTTP}.header_to_metadata.v3.Config.Rule": message("header cookie on_header_present on_header_missing remove"),
    f"{_HTTP}.header_to_metadata.v3.Config.KeyValuePair": message(
        "metadata_namespace key value regex_value_rewrite type encode"
    ),
    f"{_HTTP}.cors.v3.Cors": message(),
    f"{_HTTP}.cors.v3.CorsPolicy": message(
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled "
        "shadow_enabled allow_private_network_access forward_not_matching_preflights"
    ),
    f"{_HTTP}.fault.v3.HTTPFault": message(
        "delay abort upstream_cluster headers downstream_nodes max_active_faults disable_downstream_cluster_stats "
        + _RUNTIME_KEYS
    ),
    f"{_HTTP}.fault.v3.FaultAbort": message("http_status grpc_status header_abort percentage"),
    f"{_HTTP}.fault.v3.FaultAbort.HeaderAbort": message(),
    f"{_FAULT}.FaultDelay": message("fixed_delay header_delay percentage"),
    f"{_FAULT}.FaultDelay.HeaderDelay": message(),
    f"{_HTTP}.grpc_http1_bridge.v3.Config": message(),
    f"{_HTTP}.grpc_stats.v3.FilterConfig": message(
        "individual_method_stats_allowlist stats_for_all_methods replace_dots_in_grpc_service_name"
    ),
    "envoy.config.core.v3.GrpcMethodList": message("services"),
    "envoy.config.core.v3.GrpcMethodList.Service": message("name method_names"),
    f"{_HTTP}.grpc_web.v3.GrpcWeb": message(),
    f"{_HTTP}.health_check.v3.HealthCheck": message(
        "pass_through_mode cache_time cluster_min_healthy_percentages headers"
    ),
    f"{_HTTP}.header_mutation.v3.HeaderMutation": message("mutations most_specific_header_mutations_wins"),
    f"{_HTTP}.header_mutation.v3.HeaderMutationPerRoute": message("mutations"),
    f"{_HTTP}.header_mutation.v3.Mutations": message("request_mutations response_mutations"),
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": message(
        "stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced "
        "response_headers_to_add rate_limited_as_resource_exhausted descriptors stage vh_rate_limits "
        "always_consume_default_token_bucket rate_limits",
        only={"local_rate_limit_per_downstream_connection": False, "enable_x_ratelimit_headers": "OFF"},
    ),
    "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor": message("entries token_bucket"),
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry": message("key value"),
    "envoy.config.core.v3.RuntimeFeatureFlag": message("default_value runtime_key"),
    "envoy.type.v3.HttpStatus": message("code"),
    "envoy.type.v3.TokenBucket": message("max_tokens tokens_per_fill fill_interval"),
}
