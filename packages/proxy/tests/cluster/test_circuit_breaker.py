"""What is shown of a circuit breaker, and how many retries it allows."""

from __future__ import annotations

import pytest

from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
from isthmus_proxy.cluster.model import RetryBudget, Thresholds


def shown(breaker: CircuitBreaker) -> dict[str, int]:
    return {gauge.name.removeprefix("circuit_breakers.default."): gauge.value for gauge in breaker.gauges("default")}


@pytest.mark.parametrize(("used", "opened"), [(1, 0), (2, 1), (3, 1)])
def test_open_at_the_limit_and_beyond(used: int, opened: int) -> None:
    breaker = CircuitBreaker(Thresholds(2, 2, 2, 2, max_connection_pools=2))
    breaker.active_connections = breaker.active_requests = breaker.active_retries = breaker.pending = used
    breaker.connection_pools = used
    assert shown(breaker) == dict.fromkeys(
        ("cx_open", "cx_pool_open", "rq_open", "rq_pending_open", "rq_retry_open"), opened
    )


def test_what_remains_is_shown_on_request_and_is_never_negative() -> None:
    breaker = CircuitBreaker(Thresholds(5, 4, 3, 2, max_connection_pools=1, track_remaining=True))
    breaker.active_connections, breaker.active_requests, breaker.pending, breaker.active_retries = 1, 9, 1, 2
    assert {name: value for name, value in shown(breaker).items() if name.startswith("remaining")} == {
        "remaining_cx": 4,
        "remaining_cx_pools": 1,
        "remaining_rq": 0,
        "remaining_pending": 3,
        "remaining_retries": 0,
    }


@pytest.mark.parametrize(("active", "pending", "allowed"), [(0, 0, 3), (15, 0, 3), (20, 0, 4), (10, 15, 5)])
def test_a_retry_budget_follows_what_is_active(active: int, pending: int, allowed: int) -> None:
    breaker = CircuitBreaker(Thresholds(max_retries=100, retry_budget=RetryBudget(20.0, 3)))
    breaker.active_requests, breaker.pending = active, pending
    assert breaker.max_retries == allowed
