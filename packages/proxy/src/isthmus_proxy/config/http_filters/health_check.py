"""Compiles envoy.extensions.filters.http.health_check.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_headers
from isthmus_proxy.config.values import flag, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.health_check import HealthCheckConfig
from isthmus_proxy.route.matcher import fields_tests


def compile_health_check_filter(proto: Any, path: str) -> HealthCheckConfig:
    """Compile the filter's message. Raises ConfigError."""
    if not proto.HasField("pass_through_mode"):
        raise ConfigError(join(path, "pass_through_mode"), "", "is required")
    pass_through = flag(proto, "pass_through_mode", False)
    cache_time = seconds(proto, "cache_time", 0.0, path)
    if cache_time and not pass_through:
        raise ConfigError(join(path, "cache_time"), f"{cache_time}s", "has a meaning in pass_through_mode only")
    return HealthCheckConfig(
        pass_through,
        cache_time,
        _min_healthy(proto, path, pass_through=pass_through),
        fields_tests(compile_headers(proto, "headers", path)),
    )


def _min_healthy(proto: Any, path: str, *, pass_through: bool) -> tuple[tuple[str, int], ...]:
    path = join(path, "cluster_min_healthy_percentages")
    percentages = {name: float(each.value) for name, each in sorted(proto.cluster_min_healthy_percentages.items())}
    if percentages and pass_through:
        raise ConfigError(path, shown(next(iter(percentages))), "has no meaning in pass_through_mode")
    for name, value in percentages.items():
        if not 0.0 <= value <= 100.0:
            raise ConfigError(f'{path}["{name}"].value', str(value), "must be from 0 to 100")
    return tuple((name, int(value)) for name, value in percentages.items())
