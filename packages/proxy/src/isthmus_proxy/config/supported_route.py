"""Supported fields of route configurations."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_ROUTE = "envoy.config.route.v3"
_REDIRECT = "envoy.extensions.internal_redirect"
_MATCH = "envoy.type.matcher.v3"
_EDITS = "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove"

ROUTE: dict[str, MessageRules] = {
    f"{_ROUTE}.ScopedRouteConfiguration": message(
        "name route_configuration_name key", only={"on_demand": False}, elsewhere="route_configuration"
    ),
    f"{_ROUTE}.ScopedRouteConfiguration.Key": message("fragments"),
    f"{_ROUTE}.ScopedRouteConfiguration.Key.Fragment": message("string_key"),
    f"{_ROUTE}.RouteConfiguration": message(
        f"name virtual_hosts internal_only_headers "
        f"most_specific_header_mutations_wins max_direct_response_body_size_bytes validate_clusters "
        f"ignore_port_in_host_matching ignore_path_parameters_in_path_matching request_mirror_policies {_EDITS}",
        elsewhere="typed_per_filter_config",
        no_effect={"a label": "metadata"},
    ),
    f"{_ROUTE}.VirtualHost": message(
        f"name domains routes require_tls virtual_clusters "
        f"include_request_attempt_count include_attempt_count_in_response retry_policy hedge_policy "
        f"include_is_timeout_retry_header request_mirror_policies request_body_buffer_limit rate_limits "
        f"per_request_buffer_limit_bytes {_EDITS}",
        elsewhere="typed_per_filter_config",
        no_effect={"a label": "metadata"},
    ),
    f"{_ROUTE}.Route": message(
        f"name stat_prefix match route redirect direct_response non_forwarding_action request_body_buffer_limit "
        f"decorator tracing per_request_buffer_limit_bytes {_EDITS}",
        elsewhere="typed_per_filter_config",
        no_effect={"a label": "metadata"},
    ),
    f"{_ROUTE}.VirtualCluster": message("headers name"),
    f"{_ROUTE}.Tracing": message("client_sampling random_sampling overall_sampling custom_tags"),
    f"{_ROUTE}.Decorator": message("operation", no_effect={"spans of this proxy alone get the name": "propagate"}),
    "envoy.type.tracing.v3.CustomTag": message("tag literal environment request_header"),
    "envoy.type.tracing.v3.CustomTag.Literal": message("value"),
    "envoy.type.tracing.v3.CustomTag.Environment": message("name default_value"),
    "envoy.type.tracing.v3.CustomTag.Header": message("name default_value"),
    f"{_ROUTE}.RouteMatch": message(
        "prefix path safe_regex path_separated_prefix connect_matcher path_match_policy case_sensitive runtime_fraction headers "
        "query_parameters grpc"
    ),
    f"{_ROUTE}.RouteMatch.GrpcRouteMatchOptions": message(),
    f"{_ROUTE}.RouteMatch.ConnectMatcher": message(),
    f"{_ROUTE}.RouteAction.UpgradeConfig": message("upgrade_type enabled connect_config"),
    f"{_ROUTE}.RouteAction.UpgradeConfig.ConnectConfig": message(only={"allow_post": False}),
    f"{_ROUTE}.HeaderMatcher": message(
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match "
        "invert_match treat_missing_header_as_empty"
    ),
    f"{_ROUTE}.QueryParameterMatcher": message("name string_match present_match"),
    f"{_MATCH}.StringMatcher": message("exact prefix suffix safe_regex contains ignore_case"),
    f"{_MATCH}.RegexMatcher": message("regex", no_effect={"RE2 is the only engine": "google_re2"}),
    f"{_MATCH}.RegexMatchAndSubstitute": message("pattern substitution"),
    f"{_ROUTE}.RouteAction": message(
        "cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite "
        "path_rewrite_policy host_rewrite_literal host_rewrite_header host_rewrite_path_regex auto_host_rewrite "
        "append_x_forwarded_host timeout idle_timeout max_stream_duration retry_policy hedge_policy "
        "request_mirror_policies hash_policy metadata_match internal_redirect_policy "
        "upgrade_configs rate_limits include_vh_rate_limits",
        only={"priority": ("DEFAULT", "HIGH")},
        no_effect={
            "a route's bodies are flushed under the stream's idle timeout": "flush_timeout",
        },
    ),
    f"{_ROUTE}.InternalRedirectPolicy": message(
        "max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect response_headers_to_copy"
    ),
    f"{_REDIRECT}.allow_listed_routes.v3.AllowListedRoutesConfig": message("allowed_route_names"),
    f"{_REDIRECT}.previous_routes.v3.PreviousRoutesConfig": message(),
    f"{_REDIRECT}.safe_cross_scheme.v3.SafeCrossSchemeConfig": message(),
    f"{_ROUTE}.RouteAction.MaxStreamDuration": message(
        "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset"
    ),
    f"{_ROUTE}.RouteAction.RequestMirrorPolicy": message(
        "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append host_rewrite_literal "
        "request_headers_mutations",
        no_effect={"mirrored requests have no span": "trace_sampled"},
    ),
    "envoy.config.common.mutation_rules.v3.HeaderMutation": message("remove append"),
    f"{_ROUTE}.HedgePolicy": message(
        "hedge_on_per_try_timeout",
        no_effect={"Envoy reads them and does nothing with them either": "initial_requests additional_request_chance"},
    ),
    f"{_ROUTE}.WeightedCluster": message("clusters total_weight runtime_key_prefix header_name use_hash_policy"),
    f"{_ROUTE}.WeightedCluster.ClusterWeight": message(
        f"name cluster_header weight host_rewrite_literal metadata_match {_EDITS}", elsewhere="typed_per_filter_config"
    ),
    f"{_ROUTE}.RouteAction.HashPolicy": message("header cookie connection_properties query_parameter terminal"),
    f"{_ROUTE}.RouteAction.HashPolicy.Header": message("header_name regex_rewrite"),
    f"{_ROUTE}.RouteAction.HashPolicy.Cookie": message("name ttl path attributes"),
    f"{_ROUTE}.RouteAction.HashPolicy.CookieAttribute": message("name value"),
    f"{_ROUTE}.RouteAction.HashPolicy.ConnectionProperties": message("source_ip"),
    f"{_ROUTE}.RouteAction.HashPolicy.QueryParameter": message("name"),
    f"{_ROUTE}.RetryPolicy": message(
        "retry_on num_retries per_try_timeout retry_host_predicate host_selection_retry_max_attempts retriable_status_codes "
        "retry_back_off per_try_idle_timeout retriable_headers retriable_request_headers "
        "rate_limited_retry_back_off retry_priority"
    ),
    f"{_ROUTE}.RetryPolicy.RetryPriority": message("typed_config", no_effect={"the type URL decides": "name"}),
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": message("update_frequency"),
    f"{_ROUTE}.RetryPolicy.RateLimitedRetryBackOff": message("reset_headers max_interval"),
    f"{_ROUTE}.RetryPolicy.ResetHeader": message("name format"),
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate": message(),
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig": message(elsewhere="metadata_match"),
    f"{_ROUTE}.RetryPolicy.RetryBackOff": message("base_interval max_interval"),
    f"{_ROUTE}.RetryPolicy.RetryHostPredicate": message("typed_config", no_effect={"the type URL decides": "name"}),
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": message(),
    f"{_ROUTE}.FilterConfig": message("is_optional disabled", elsewhere="config"),
    f"{_ROUTE}.RedirectAction": message(
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite "
        "response_code strip_query"
    ),
    f"{_ROUTE}.DirectResponseAction": message("status body body_format"),
    f"{_ROUTE}.NonForwardingAction": message(),
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": message("path_template"),
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": message("path_template_rewrite"),
    "envoy.config.core.v3.HeaderValueOption": message("header append append_action keep_empty_value"),
    "envoy.config.core.v3.HeaderValue": message("key value"),
}
