"""Compiles envoy.extensions.filters.http.local_ratelimit.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.header_edits import compile_added_headers
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.rate_limits import MAX_STAGE, compile_rate_limits
from isthmus_proxy.config.route_match import compile_fraction
from isthmus_proxy.config.values import enum_name, flag, number, positive_seconds, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.local_ratelimit import LocalDescriptor, LocalRateLimitConfig
from isthmus_proxy.ratelimit.descriptors import Entry
from isthmus_proxy.runtime import Fraction

_OFTEN = 0.05
"""Envoy refuses buckets that are filled at shorter intervals, in seconds."""


def compile_local_ratelimit(proto: Any, path: str) -> LocalRateLimitConfig:
    """Compile the message of the filter or of a route. Raises ConfigError."""
    tokens, fill, interval = (
        _bucket(proto.token_bucket, join(path, "token_bucket")) if proto.HasField("token_bucket") else (0, 1, 1.0)
    )
    status = int(proto.status.code)
    added = join(path, "request_headers_to_add_when_not_enforced")
    return LocalRateLimitConfig(
        required(proto, "stat_prefix", path),
        status=status if status >= 400 else 429,
        max_tokens=tokens,
        tokens_per_fill=fill,
        fill_interval=interval,
        enabled=compile_fraction(proto.filter_enabled) if proto.HasField("filter_enabled") else Fraction(0),
        enforced=compile_fraction(proto.filter_enforced) if proto.HasField("filter_enforced") else Fraction(0),
        request_headers=compile_added_headers(proto.request_headers_to_add_when_not_enforced, added),
        response_headers=compile_added_headers(proto.response_headers_to_add, join(path, "response_headers_to_add")),
        resource_exhausted=proto.rate_limited_as_resource_exhausted,
        descriptors=_descriptors(proto, path),
        limits=compile_rate_limits(proto.rate_limits, join(path, "rate_limits"), staged=False),
        host_limits=enum_name(proto, "vh_rate_limits"),  # type: ignore[arg-type]
        stage=_stage(proto, path),
        always=flag(proto, "always_consume_default_token_bucket", default=True),
    )


def _stage(proto: Any, path: str) -> int:
    if proto.stage > MAX_STAGE:
        raise ConfigError(join(path, "stage"), str(proto.stage), f"must be at most {MAX_STAGE}")
    return int(proto.stage)


def _descriptors(proto: Any, path: str) -> tuple[LocalDescriptor, ...]:
    found: list[LocalDescriptor] = []
    for index, each in enumerate(proto.descriptors):
        place = f"{join(path, 'descriptors')}[{index}]"
        if not each.entries:
            raise ConfigError(join(place, "entries"), "", "needs at least one entry")
        entries = tuple(_entry(entry, f"{join(place, 'entries')}[{i}]") for i, entry in enumerate(each.entries))
        if entries in [other.entries for other in found]:
            raise ConfigError(place, "", "a descriptor with these entries is there already")
        if not each.HasField("token_bucket"):
            raise ConfigError(join(place, "token_bucket"), "", "is required")
        found.append(LocalDescriptor(entries, *_bucket(each.token_bucket, join(place, "token_bucket"))))
    return tuple(found)


def _entry(proto: Any, path: str) -> Entry:
    if not proto.value:
        reason = "is required: descriptors whose buckets are made as values come are not supported"
        raise ConfigError(join(path, "value"), "", reason)
    return required(proto, "key", path), proto.value.encode()


def _bucket(proto: Any, path: str) -> tuple[int, int, float]:
    if proto.max_tokens < 1:
        raise ConfigError(join(path, "max_tokens"), shown(proto.max_tokens), "must be more than zero")
    if not proto.HasField("fill_interval"):
        raise ConfigError(join(path, "fill_interval"), "", "is required")
    interval = positive_seconds(proto, "fill_interval", 1.0, path)
    if interval < _OFTEN:
        raise ConfigError(join(path, "fill_interval"), f"{interval}s", f"must be at least {_OFTEN}s")
    return int(proto.max_tokens), number(proto, "tokens_per_fill", 1, path, low=1), interval
