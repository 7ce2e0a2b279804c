"""Supported fields of HTTP filters and of what routes say of them."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_HTTP = "envoy.extensions.filters.http"
_FAULT = "envoy.extensions.filters.common.fault.v3"
_RUNTIME_KEYS = (
    "delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime "
    "max_active_faults_runtime abort_grpc_status_runtime"
)

HTTP_FILTERS: dict[str, MessageRules] = {
    f"{_HTTP}.buffer.v3.Buffer": message("max_request_bytes"),
    f"{_HTTP}.buffer.v3.BufferPerRoute": message("disabled buffer"),
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
    f"{_HTTP}.header_mutation.v3.HeaderMutation": message("mutations most_specific_header_mutations_wins"),
    f"{_HTTP}.header_mutation.v3.HeaderMutationPerRoute": message("mutations"),
    f"{_HTTP}.header_mutation.v3.Mutations": message("request_mutations response_mutations"),
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": message(
        "stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced "
        "response_headers_to_add rate_limited_as_resource_exhausted",
    ),
    "envoy.type.v3.HttpStatus": message("code"),
    "envoy.type.v3.TokenBucket": message("max_tokens tokens_per_fill fill_interval"),
}
