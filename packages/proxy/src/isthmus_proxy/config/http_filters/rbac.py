"""Compiles envoy.extensions.filters.http.rbac.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join
from isthmus_proxy.config.rbac import compile_rbac
from isthmus_proxy.http.filters.rbac import RbacConfig


def compile_rbac_filter(proto: Any, path: str) -> RbacConfig:
    """Compile the filter's message. Raises ConfigError."""
    return RbacConfig(
        compile_rbac(proto.rules, join(path, "rules")) if proto.HasField("rules") else None,
        compile_rbac(proto.shadow_rules, join(path, "shadow_rules")) if proto.HasField("shadow_rules") else None,
        stat_prefix=proto.rules_stat_prefix,
        shadow_stat_prefix=proto.shadow_rules_stat_prefix,
        per_rule_stats=proto.track_per_rule_stats,
    )


def compile_rbac_per_route(proto: Any, path: str) -> RbacConfig:
    """Compile a route's message; one without ``rbac`` lets everything pass. Raises ConfigError."""
    return compile_rbac_filter(proto.rbac, join(path, "rbac"))
