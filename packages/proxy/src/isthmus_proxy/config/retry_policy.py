"""Compiles config.route.v3.RetryPolicy."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import number, positive_seconds, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import RetryPolicy

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
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"


def compile_retry_policy(policy: Any, path: str) -> RetryPolicy:
    """Compile a retry policy. Raises ConfigError."""
    base = positive_seconds(policy.retry_back_off, "base_interval", 0.025, join(path, "retry_back_off"))
    longest = positive_seconds(policy.retry_back_off, "max_interval", base * 10, join(path, "retry_back_off"))
    if longest < base:
        raise ConfigError(join(path, "retry_back_off.max_interval"), f"{longest}s", f"must be at least {base}s")
    for index, predicate in enumerate(policy.retry_host_predicate):
        unpack_as(
            predicate.typed_config, f"{join(path, 'retry_host_predicate')}[{index}].typed_config", _PREVIOUS_HOSTS
        )
    per_try = seconds(policy, "per_try_timeout", 0.0, path)
    return RetryPolicy(
        retry_on=_conditions(policy.retry_on, join(path, "retry_on")),
        num_retries=number(policy, "num_retries", 1, path),
        per_try_timeout=per_try or None,
        retriable_status_codes=frozenset(policy.retriable_status_codes),
        base_interval=base,
        max_interval=longest,
        avoid_previous_hosts=bool(policy.retry_host_predicate),
        host_selection_attempts=policy.host_selection_retry_max_attempts or 1,
    )


def _conditions(text: str, path: str) -> frozenset[str]:
    names = frozenset(name for part in text.split(",") if (name := part.strip()))
    for name in sorted(names - _CONDITIONS):
        raise ConfigError(path, shown(name), "is not a retry condition; known are " + ", ".join(sorted(_CONDITIONS)))
    return names
