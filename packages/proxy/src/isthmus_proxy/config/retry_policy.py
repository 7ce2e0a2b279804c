"""Compiles config.route.v3.RetryPolicy."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import name_of, unpack_as
from isthmus_proxy.config.header_edits import header_name
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_headers
from isthmus_proxy.config.values import enum_name, number, positive_seconds, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import RateLimitedBackOff, RetryPolicy

_CONDITIONS = frozenset(
    (
        *(
            "5xx",
            "gateway-error",
            "reset",
            "reset-before-request",
            "connect-failure",
            "envoy-ratelimited",
            "retriable-4xx",
        ),
        *("refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure"),
        *("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
    )
)
_HOST = "envoy.extensions.retry.host"
_PREVIOUS_HOSTS = f"{_HOST}.previous_hosts.v3.PreviousHostsPredicate"
_OMIT_CANARY = f"{_HOST}.omit_canary_hosts.v3.OmitCanaryHostsPredicate"
_OMIT_METADATA = f"{_HOST}.omit_host_metadata.v3.OmitHostMetadataConfig"
_PREVIOUS_PRIORITIES = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
_MILLISECOND = 0.001


def compile_retry_policy(policy: Any, path: str) -> RetryPolicy:
    """Compile a retry policy. Raises ConfigError."""
    base, longest = _back_off(policy, path)
    names = [name_of(predicate.typed_config.type_url) for predicate in policy.retry_host_predicate]
    return RetryPolicy(
        retry_on=_conditions(policy.retry_on, join(path, "retry_on")),
        num_retries=number(policy, "num_retries", 1, path),
        per_try_timeout=seconds(policy, "per_try_timeout", 0.0, path) or None,
        per_try_idle_timeout=seconds(policy, "per_try_idle_timeout", 0.0, path) or None,
        retriable_status_codes=frozenset(policy.retriable_status_codes),
        retriable_headers=compile_headers(policy, "retriable_headers", path),
        request_headers=compile_headers(policy, "retriable_request_headers", path),
        base_interval=base,
        max_interval=longest,
        rate_limited=_rate_limited(policy, path),
        avoid_previous_hosts=_PREVIOUS_HOSTS in names,
        omit_metadata=_omitted(policy, join(path, "retry_host_predicate")),
        host_selection_attempts=policy.host_selection_retry_max_attempts or 1,
        priority_frequency=_priority_frequency(policy, join(path, "retry_priority.typed_config")),
    )


def _back_off(policy: Any, path: str) -> tuple[float | None, float | None]:
    if not policy.HasField("retry_back_off"):
        return None, None
    path = join(path, "retry_back_off")
    back_off = policy.retry_back_off
    if not back_off.HasField("base_interval"):
        raise ConfigError(join(path, "base_interval"), "", "is required")
    base = max(positive_seconds(back_off, "base_interval", 0.025, path), _MILLISECOND)
    if not back_off.HasField("max_interval"):
        return base, None
    longest = max(positive_seconds(back_off, "max_interval", base, path), _MILLISECOND)
    if longest < base:
        raise ConfigError(join(path, "max_interval"), f"{longest}s", f"must be at least {base}s")
    return base, longest


def _rate_limited(policy: Any, path: str) -> RateLimitedBackOff | None:
    if not policy.HasField("rate_limited_retry_back_off"):
        return None
    path = join(path, "rate_limited_retry_back_off")
    back_off = policy.rate_limited_retry_back_off
    if not back_off.reset_headers:
        raise ConfigError(join(path, "reset_headers"), "", "needs at least one header")
    headers = tuple(
        (header_name(item.name, f"{join(path, 'reset_headers')}[{i}].name"), enum_name(item, "format"))
        for i, item in enumerate(back_off.reset_headers)
    )
    return RateLimitedBackOff(headers, max(positive_seconds(back_off, "max_interval", 300.0, path), _MILLISECOND))


def _priority_frequency(policy: Any, path: str) -> int:
    if not policy.HasField("retry_priority"):
        return 0
    config: Any = unpack_as(policy.retry_priority.typed_config, path, _PREVIOUS_PRIORITIES)
    if config.update_frequency < 1:
        raise ConfigError(join(path, "update_frequency"), str(config.update_frequency), "must be at least 1")
    return int(config.update_frequency)


def _omitted(policy: Any, path: str) -> tuple[tuple[tuple[str, object], ...], ...]:
    found: list[tuple[tuple[str, object], ...]] = []
    for index, predicate in enumerate(policy.retry_host_predicate):
        place = f"{path}[{index}].typed_config"
        config: Any = unpack_as(predicate.typed_config, place, _PREVIOUS_HOSTS, _OMIT_CANARY, _OMIT_METADATA)
        if name_of(predicate.typed_config.type_url) == _OMIT_CANARY:
            found.append((("canary", ("bool", True)),))
        elif name_of(predicate.typed_config.type_url) == _OMIT_METADATA:
            found.append(_metadata(config.metadata_match, join(place, "metadata_match")))
    return tuple(found)


def _metadata(metadata: Any, path: str) -> tuple[tuple[str, object], ...]:
    fields = metadata.filter_metadata["envoy.lb"].fields if "envoy.lb" in metadata.filter_metadata else {}
    pairs: list[tuple[str, object]] = []
    for name in sorted(fields):
        if fields[name].WhichOneof("kind") != "string_value":
            raise ConfigError(f"{path}.{name}", shown(str(fields[name]).strip()), "only text can be compared")
        pairs.append((name, fields[name].string_value))
    return tuple(pairs)


def _conditions(text: str, path: str) -> frozenset[str]:
    names = frozenset(name for part in text.split(",") if (name := part.strip()))
    for name in sorted(names - _CONDITIONS):
        raise ConfigError(path, shown(name), "is not a retry condition; known are " + ", ".join(sorted(_CONDITIONS)))
    return names
