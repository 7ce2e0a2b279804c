"""Compiles envoy.extensions.filters.http.ratelimit.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.grpc_service import compile_grpc_service
from isthmus_proxy.config.header_edits import compile_added_headers
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.rate_limits import MAX_STAGE, compile_rate_limits
from isthmus_proxy.config.route_match import compile_fraction
from isthmus_proxy.config.values import enum_name, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.ratelimit import ENABLED, ENFORCED, RateLimitConfig, RateLimitPerRoute, RateLimitServer
from isthmus_proxy.runtime import Fraction

_DEFAULT_TIMEOUT = 0.02
_INTERNAL = {"": None, "both": None, "internal": True, "external": False}


def compile_ratelimit(proto: Any, path: str) -> RateLimitConfig:
    """Compile the filter's message. Raises ConfigError."""
    if proto.stage > MAX_STAGE:
        raise ConfigError(join(path, "stage"), str(proto.stage), f"must be at most {MAX_STAGE}")
    if proto.request_type not in _INTERNAL:
        raise ConfigError(
            join(path, "request_type"), shown(proto.request_type), "must be internal, external, both or empty"
        )
    added = join(path, "response_headers_to_add")
    return RateLimitConfig(
        _server(proto, path),
        required(proto, "domain", path),
        stage=proto.stage,
        internal=_INTERNAL[proto.request_type],
        status=_status(proto.rate_limited_status.code, 429),
        status_on_error=_status(proto.status_on_error.code, 500),
        resource_exhausted=proto.rate_limited_as_resource_exhausted,
        tell_limits=enum_name(proto, "enable_x_ratelimit_headers") == "DRAFT_VERSION_03",
        tell_limited=not proto.disable_x_envoy_ratelimited_header,
        response_headers=compile_added_headers(proto.response_headers_to_add, added),
        stat_prefix=proto.stat_prefix,
        enabled=_fraction(proto, "filter_enabled", ENABLED),
        enforced=_fraction(proto, "filter_enforced", ENFORCED),
        deny_on_failure=_fraction(proto, "failure_mode_deny_percent", Fraction(100 if proto.failure_mode_deny else 0)),
    )


def compile_ratelimit_per_route(proto: Any, path: str) -> RateLimitPerRoute:
    """Compile a route's message. Raises ConfigError."""
    limits = compile_rate_limits(proto.rate_limits, join(path, "rate_limits"), staged=False)
    return RateLimitPerRoute(enum_name(proto, "vh_rate_limits"), limits, proto.domain)  # type: ignore[arg-type]


def _server(proto: Any, path: str) -> RateLimitServer:
    place = join(path, "rate_limit_service.grpc_service")
    if not proto.rate_limit_service.HasField("grpc_service"):
        raise ConfigError(place, "", "is required")
    # The service's own time-out does not count, the filter's does: as in Envoy.
    cluster, authority, _ = compile_grpc_service(proto.rate_limit_service.grpc_service, place, 0.0)
    return RateLimitServer(cluster, seconds(proto, "timeout", _DEFAULT_TIMEOUT, path), authority)


def _status(code: int, default: int) -> int:
    return code if code >= 400 else default


def _fraction(proto: Any, name: str, default: Fraction) -> Fraction:
    return compile_fraction(getattr(proto, name)) if proto.HasField(name) else default
