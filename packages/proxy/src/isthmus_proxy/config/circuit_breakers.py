"""Compiles config.cluster.v3.CircuitBreakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus_proxy.cluster.model import UNLIMITED, RetryBudget, Thresholds
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import enum_name, number
from isthmus_proxy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CircuitBreakers:
    """The limits of both routing priorities, and of one endpoint."""

    default: Thresholds
    high: Thresholds
    per_host_max_connections: int


def compile_circuit_breakers(breakers: Any, path: str) -> CircuitBreakers:
    """Compile checked limits; of several rows for one priority the first counts, as in Envoy. Raises ConfigError."""
    found: dict[str, Thresholds] = {}
    for index, row in enumerate(breakers.thresholds):
        place = f"{join(path, 'thresholds')}[{index}]"
        found.setdefault(enum_name(row, "priority"), _thresholds(row, place))
    return CircuitBreakers(
        found.get("DEFAULT", Thresholds()),
        found.get("HIGH", Thresholds()),
        _per_host(breakers, join(path, "per_host_thresholds")),
    )


def _thresholds(row: Any, path: str) -> Thresholds:
    defaults = Thresholds()
    return Thresholds(
        max_connections=number(row, "max_connections", defaults.max_connections, path),
        max_pending_requests=number(row, "max_pending_requests", defaults.max_pending_requests, path),
        max_requests=number(row, "max_requests", defaults.max_requests, path),
        max_retries=number(row, "max_retries", defaults.max_retries, path),
        max_connection_pools=number(row, "max_connection_pools", UNLIMITED, path),
        retry_budget=_budget(row.retry_budget, join(path, "retry_budget")) if row.HasField("retry_budget") else None,
        track_remaining=row.track_remaining,
    )


def _budget(budget: Any, path: str) -> RetryBudget:
    percent = float(budget.budget_percent.value) if budget.HasField("budget_percent") else 20.0
    if not 0.0 <= percent <= 100.0:
        raise ConfigError(join(path, "budget_percent"), str(percent), "must be from 0 to 100")
    return RetryBudget(percent, number(budget, "min_retry_concurrency", 3, path))


def _per_host(breakers: Any, path: str) -> int:
    limit = UNLIMITED
    for index, row in enumerate(breakers.per_host_thresholds):
        place = f"{path}[{index}]"
        for field, _ in row.ListFields():
            if field.name not in ("priority", "max_connections"):
                raise ConfigError(join(place, field.name), "", "of an endpoint only max_connections can be limited")
        if enum_name(row, "priority") == "DEFAULT":
            limit = number(row, "max_connections", UNLIMITED, place)
    return limit
