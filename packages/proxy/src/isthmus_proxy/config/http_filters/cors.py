"""Compiles envoy.extensions.filters.http.cors.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_fraction, compile_string
from isthmus_proxy.config.values import flag
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.cors import CorsConfig, CorsPolicy
from isthmus_proxy.route.matcher import string_test
from isthmus_proxy.runtime import Fraction


def compile_cors(proto: Any, path: str) -> CorsConfig:
    """Compile the filter's own message, which has no fields."""
    return CorsConfig()


def compile_cors_policy(proto: Any, path: str) -> CorsPolicy:
    """Compile a route's policy. Raises ConfigError."""
    origins = join(path, "allow_origin_string_match")
    return CorsPolicy(
        tuple(
            string_test(compile_string(each, f"{origins}[{i}]"))
            for i, each in enumerate(proto.allow_origin_string_match)
        ),
        allow_methods=_value(proto, "allow_methods", path),
        allow_headers=_value(proto, "allow_headers", path),
        expose_headers=_value(proto, "expose_headers", path),
        max_age=_value(proto, "max_age", path),
        allow_credentials=_flag(proto, "allow_credentials"),
        allow_private_network=_flag(proto, "allow_private_network_access"),
        enabled=compile_fraction(proto.filter_enabled) if proto.HasField("filter_enabled") else Fraction(100),
        shadow=compile_fraction(proto.shadow_enabled) if proto.HasField("shadow_enabled") else Fraction(0),
        forward_not_matching_preflights=_flag(proto, "forward_not_matching_preflights"),
    )


def _flag(proto: Any, name: str) -> bool | None:
    return flag(proto, name, default=False) if proto.HasField(name) else None


def _value(proto: Any, name: str, path: str) -> bytes:
    value = str(getattr(proto, name))
    if not value.isprintable() or not value.isascii():
        raise ConfigError(join(path, name), shown(value), "must be printable ASCII")
    return value.encode()
