"""Supported fields of role-based access control and of the matchers in it."""

from __future__ import annotations

from isthmus_proxy.config.rules import MessageRules, message

_RBAC = "envoy.config.rbac.v3"
_MATCH = "envoy.type.matcher.v3"

RBAC: dict[str, MessageRules] = {
    "envoy.extensions.filters.http.rbac.v3.RBAC": message(
        "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats"
    ),
    "envoy.extensions.filters.network.rbac.v3.RBAC": message(
        "rules shadow_rules stat_prefix",
        only={"enforcement_type": "ONE_TIME_ON_FIRST_BYTE"},
        no_effect={"connections have no metadata": "shadow_rules_stat_prefix"},
    ),
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": message("rbac"),
    f"{_RBAC}.RBAC": message("action policies"),
    f"{_RBAC}.Policy": message("permissions principals"),
    f"{_RBAC}.Permission": message(
        "and_rules or_rules any header url_path destination_ip destination_port destination_port_range metadata not_rule "
        "requested_server_name uri_template sourced_metadata"
    ),
    f"{_RBAC}.Permission.Set": message("rules"),
    f"{_RBAC}.Principal": message(
        "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata not_id "
        "sourced_metadata filter_state"
    ),
    f"{_MATCH}.FilterStateMatcher": message("key string_match"),
    f"{_RBAC}.Principal.Set": message("ids"),
    f"{_RBAC}.Principal.Authenticated": message("principal_name"),
    f"{_RBAC}.SourcedMetadata": message("metadata_matcher metadata_source"),
    f"{_MATCH}.PathMatcher": message("path"),
    f"{_MATCH}.MetadataMatcher": message("filter path value invert"),
    f"{_MATCH}.MetadataMatcher.PathSegment": message("key"),
    f"{_MATCH}.ValueMatcher": message(
        "null_match double_match string_match bool_match present_match list_match or_match"
    ),
    f"{_MATCH}.ValueMatcher.NullMatch": message(),
    f"{_MATCH}.DoubleMatcher": message("range exact"),
    f"{_MATCH}.ListMatcher": message("one_of"),
    f"{_MATCH}.OrMatcher": message("value_matchers"),
    "envoy.type.v3.DoubleRange": message("start end"),
}
