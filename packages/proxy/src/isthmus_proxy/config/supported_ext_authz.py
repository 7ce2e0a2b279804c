"""Supported fields of ext_authz."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3"

EXT_AUTHZ: dict[str, MessageRules] = {
    f"{_AUTHZ}.ExtAuthz": message(
        "http_service failure_mode_allow failure_mode_allow_header_add with_request_body clear_route_cache status_on_error "
        "metadata_context_namespaces route_metadata_context_namespaces filter_enabled stat_prefix allowed_headers "
        "disallowed_headers charge_cluster_response_stats enable_dynamic_metadata_ingestion",
        only={
            "transport_api_version": ("AUTO", "V3"),
            "validate_mutations": False,
            "include_peer_certificate": False,
            "include_tls_session": False,
            "encode_raw_headers": False,
            "enforce_response_header_limits": False,
        },
        no_effect={"for logs that nobody writes": "emit_filter_state_stats filter_metadata"},
        elsewhere="grpc_service",
    ),
    f"{_AUTHZ}.ExtAuthzPerRoute": message("disabled check_settings"),
    f"{_AUTHZ}.CheckSettings": message("context_extensions disable_request_body_buffering with_request_body"),
    f"{_AUTHZ}.BufferSettings": message("max_request_bytes allow_partial_message pack_as_bytes"),
    f"{_AUTHZ}.HttpService": message("server_uri path_prefix authorization_request authorization_response"),
    f"{_AUTHZ}.AuthorizationRequest": message("allowed_headers headers_to_add"),
    f"{_AUTHZ}.AuthorizationResponse": message(
        "allowed_upstream_headers allowed_upstream_headers_to_append allowed_client_headers "
        "allowed_client_headers_on_success dynamic_metadata_from_headers"
    ),
}
