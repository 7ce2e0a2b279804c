"""Compiles envoy.extensions.filters.network.rbac.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join
from isthmus_proxy.config.rbac import compile_rbac
from isthmus_proxy.config.values import required
from isthmus_proxy.listener.model import ConnectionRbacConfig
from isthmus_proxy.rbac.model import AllOf, AnyOf, Authenticated, Not, Rule, Rules


def compile_connection_rbac(proto: Any, path: str, *, secure: bool) -> ConnectionRbacConfig:
    """Compile the filter's message; ``secure``: its chain ends TLS. Raises ConfigError."""
    rules, shadow_rules = _compile(proto, "rules", path), _compile(proto, "shadow_rules", path)
    return ConnectionRbacConfig(
        required(proto, "stat_prefix", path),
        rules,
        shadow_rules,
        after_handshake=secure and any(map(_needs_the_peer, filter(None, (rules, shadow_rules)))),
    )


def _compile(proto: Any, field: str, path: str) -> Rules | None:
    return compile_rbac(getattr(proto, field), join(path, field)) if proto.HasField(field) else None


def _needs_the_peer(rules: Rules) -> bool:
    return any(any(map(_asks_for_a_name, (*each.permissions, *each.principals))) for each in rules.policies)


def _asks_for_a_name(rule: Rule) -> bool:
    if isinstance(rule, AllOf | AnyOf):
        return any(map(_asks_for_a_name, rule.rules))
    if isinstance(rule, Not):
        return _asks_for_a_name(rule.rule)
    return isinstance(rule, Authenticated)
