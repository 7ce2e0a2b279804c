"""Compiles envoy.extensions.filters.http.bandwidth_limit.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name, flag, number, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.bandwidth_limit import BandwidthLimitConfig

_SHORTEST, _LONGEST = 0.02, 1.0
"""Bounds of fill_interval in Envoy, in seconds."""
_TRAILER = b"bandwidth-"


def compile_bandwidth_limit(proto: Any, path: str) -> BandwidthLimitConfig:
    """Compile the filter's message. Raises ConfigError."""
    mode = enum_name(proto, "enable_mode")
    kilobytes = number(proto, "limit_kbps", 0, path, low=1)
    if mode != "DISABLED" and not kilobytes:
        raise ConfigError(join(path, "limit_kbps"), "", f"is required with enable_mode {mode}: nothing would pass")
    key, enabled = _runtime_enabled(proto, path)
    return BandwidthLimitConfig(
        required(proto, "stat_prefix", path),
        request=mode in ("REQUEST", "REQUEST_AND_RESPONSE"),
        response=mode in ("RESPONSE", "REQUEST_AND_RESPONSE"),
        rate=kilobytes * 1024,
        fill_interval=_fill_interval(proto, path),
        runtime_key=key,
        enabled=enabled,
        trailer_prefix=_trailer_prefix(proto, path) if proto.enable_response_trailers else None,
    )


def compile_bandwidth_limit_per_route(proto: Any, path: str) -> BandwidthLimitConfig:
    """Compile a route's message. Raises ConfigError."""
    if not proto.HasField("limit_kbps"):
        raise ConfigError(join(path, "limit_kbps"), "", "is required in a route")
    return compile_bandwidth_limit(proto, path)


def _fill_interval(proto: Any, path: str) -> float:
    interval = seconds(proto, "fill_interval", 0.05, path)
    if not _SHORTEST <= interval <= _LONGEST:
        raise ConfigError(join(path, "fill_interval"), f"{interval}s", f"must be from {_SHORTEST}s to {_LONGEST}s")
    return interval


def _runtime_enabled(proto: Any, path: str) -> tuple[str, bool]:
    if not proto.HasField("runtime_enabled"):
        return "", True
    path = join(path, "runtime_enabled")
    if not proto.runtime_enabled.HasField("default_value"):
        raise ConfigError(join(path, "default_value"), "", "is required")
    return required(proto.runtime_enabled, "runtime_key", path), flag(proto.runtime_enabled, "default_value", True)


def _trailer_prefix(proto: Any, path: str) -> bytes:
    prefix = str(proto.response_trailer_prefix)
    if not prefix:
        return _TRAILER
    if not all(each.isascii() and (each.isalnum() or each in "!#$%&'*+-.^_`|~") for each in prefix):
        raise ConfigError(join(path, "response_trailer_prefix"), shown(prefix), "is no name of a header")
    return prefix.lower().encode() + b"-" + _TRAILER
