"""Supported fields of rate limits and of the filter that asks about them."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_RATELIMIT = "envoy.extensions.filters.http.ratelimit.v3"
_ROUTE = "envoy.config.route.v3.RateLimit"
_ACTION = f"{_ROUTE}.Action"
_CONSTANT = "descriptor_key descriptor_value expect_match"

RATELIMIT: dict[str, MessageRules] = {
    f"{_RATELIMIT}.RateLimit": message(
        "domain stage request_type timeout failure_mode_deny rate_limited_as_resource_exhausted rate_limit_service "
        "enable_x_ratelimit_headers disable_x_envoy_ratelimited_header rate_limited_status response_headers_to_add "
        "status_on_error stat_prefix filter_enabled filter_enforced failure_mode_deny_percent"
    ),
    f"{_RATELIMIT}.RateLimitPerRoute": message(
        "vh_rate_limits rate_limits domain", only={"override_option": "DEFAULT"}
    ),
    "envoy.config.ratelimit.v3.RateLimitServiceConfig": message(
        only={"transport_api_version": ("AUTO", "V3")}, elsewhere="grpc_service"
    ),
    _ROUTE: message("stage disable_key actions", only={"apply_on_stream_done": False}),
    _ACTION: message(
        "source_cluster destination_cluster request_headers query_parameters remote_address masked_remote_address generic_key "
        "header_value_match query_parameter_value_match metadata"
    ),
    f"{_ACTION}.SourceCluster": message(),
    f"{_ACTION}.DestinationCluster": message(),
    f"{_ACTION}.RequestHeaders": message("header_name descriptor_key skip_if_absent"),
    f"{_ACTION}.QueryParameters": message("query_parameter_name descriptor_key skip_if_absent"),
    f"{_ACTION}.RemoteAddress": message(),
    f"{_ACTION}.MaskedRemoteAddress": message("v4_prefix_mask_len v6_prefix_mask_len"),
    f"{_ACTION}.GenericKey": message("descriptor_value descriptor_key"),
    f"{_ACTION}.HeaderValueMatch": message(f"{_CONSTANT} headers"),
    f"{_ACTION}.QueryParameterValueMatch": message(f"{_CONSTANT} query_parameters"),
    f"{_ACTION}.MetaData": message("descriptor_key metadata_key default_value source skip_if_absent"),
    "envoy.type.metadata.v3.MetadataKey": message("key path"),
    "envoy.type.metadata.v3.MetadataKey.PathSegment": message("key"),
}
