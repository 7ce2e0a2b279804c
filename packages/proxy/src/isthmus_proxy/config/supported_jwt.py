"""Supported fields of jwt_authn."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_JWT = "envoy.extensions.filters.http.jwt_authn.v3"

JWT: dict[str, MessageRules] = {
    f"{_JWT}.JwtAuthentication": message(
        "providers rules filter_state_rules bypass_cors_preflight requirement_map strip_failure_response stat_prefix"
    ),
    f"{_JWT}.PerRouteConfig": message("disabled requirement_name"),
    f"{_JWT}.JwtProvider": message(
        "issuer audiences subjects require_expiration max_lifetime remote_jwks local_jwks forward from_headers from_params "
        "from_cookies forward_payload_header pad_forward_payload_header payload_in_metadata normalize_payload_in_metadata "
        "header_in_metadata clock_skew_seconds jwt_cache_config claim_to_headers clear_route_cache"
    ),
    f"{_JWT}.JwtProvider.NormalizePayload": message("space_delimited_claims"),
    f"{_JWT}.JwtCacheConfig": message("jwt_cache_size jwt_max_token_size"),
    f"{_JWT}.RemoteJwks": message("http_uri cache_duration async_fetch"),
    f"{_JWT}.JwksAsyncFetch": message(
        "failed_refetch_duration", no_effect={"listeners do not wait for keys, requests do": "fast_listener"}
    ),
    f"{_JWT}.JwtHeader": message("name value_prefix"),
    f"{_JWT}.JwtClaimToHeader": message("header_name claim_name"),
    f"{_JWT}.ProviderWithAudiences": message("provider_name audiences"),
    f"{_JWT}.JwtRequirement": message(
        "provider_name provider_and_audiences requires_any requires_all allow_missing allow_missing_or_failed"
    ),
    f"{_JWT}.JwtRequirementOrList": message("requirements"),
    f"{_JWT}.JwtRequirementAndList": message("requirements"),
    f"{_JWT}.RequirementRule": message("match requires requirement_name"),
    f"{_JWT}.FilterStateRule": message("name requires"),
}
