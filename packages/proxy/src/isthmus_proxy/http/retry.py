"""Whether and when to try again (config.route.v3.RetryPolicy). Pure: randomness is a parameter."""

from __future__ import annotations

from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.http.local_reply import CONNECT_FAILURES, OVERFLOW
from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.model import RetryPolicy

_ANY_RESET = frozenset({"5xx", "gateway-error", "reset"})
_GRPC_CODES = {
    "cancelled": b"1",
    "deadline-exceeded": b"4",
    "resource-exhausted": b"8",
    "internal": b"13",
    "unavailable": b"14",
}


class RetryState:
    """How many retries are left to one request, and what it has tried."""

    __slots__ = ("_policy", "remaining", "tried")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.remaining = policy.num_retries
        self.tried = 0

    def wants_reset(self, reason: str, *, sent: bool) -> bool:
        """Whether losing the request for ``reason`` is worth a retry. ``sent``: some of it may have reached the endpoint."""
        if reason == OVERFLOW:
            return False
        retry_on = self._policy.retry_on
        return (
            not _ANY_RESET.isdisjoint(retry_on)
            or ("connect-failure" in retry_on and reason in CONNECT_FAILURES)
            or ("reset-before-request" in retry_on and not sent)
        )

    def wants_timeout(self) -> bool:
        """Whether a per-try timeout is worth a retry."""
        return not _ANY_RESET.isdisjoint(self._policy.retry_on)

    def wants_response(self, status: int, headers: Headers | tuple[tuple[bytes, bytes], ...]) -> bool:
        """Whether a response is worth a retry instead of being forwarded."""
        retry_on = self._policy.retry_on
        if any(name == b"x-envoy-ratelimited" for name, _ in headers):
            return "envoy-ratelimited" in retry_on
        return (
            ("5xx" in retry_on and status >= 500)
            or ("gateway-error" in retry_on and status in (502, 503, 504))
            or ("retriable-4xx" in retry_on and status == 409)
            or ("retriable-status-codes" in retry_on and status in self._policy.retriable_status_codes)
            or self._wants_grpc(headers)
        )

    def _wants_grpc(self, headers: Headers | tuple[tuple[bytes, bytes], ...]) -> bool:
        wanted = {_GRPC_CODES[name] for name in self._policy.retry_on if name in _GRPC_CODES}
        return bool(wanted) and any(name == b"grpc-status" and value in wanted for name, value in headers)

    def take(self) -> None:
        """Use up one retry."""
        self.remaining -= 1
        self.tried += 1

    def back_off(self, random: float) -> float:
        """Seconds to wait before the retry just taken: uniform below base * 2^(n-1), at most the maximum; ``random`` in [0, 1)."""
        policy = self._policy
        return random * min(policy.base_interval * (1 << (self.tried - 1)), policy.max_interval)


def admit(retry: RetryState, cluster: Cluster, breaker: CircuitBreaker, info: StreamInfo) -> bool:
    """Take one retry if some are left and the cluster's circuit breaker allows it; else note why not (URX before UO)."""
    if retry.remaining <= 0:
        info.flag("URX")
        cluster.stats.upstream_rq_retry_limit_exceeded.value += 1
        return False
    if breaker.active_retries >= breaker.max_retries:
        info.flag("UO")
        cluster.stats.upstream_rq_retry_overflow.value += 1
        return False
    retry.take()
    breaker.active_retries += 1
    cluster.stats.upstream_rq_retry.value += 1
    return True


def avoiding(policy: RetryPolicy | None, previous: list[Endpoint]) -> LoadBalancerContext | None:
    """How the load balancer should regard the endpoints tried before (the previous_hosts predicate)."""
    if policy is None or not policy.avoid_previous_hosts:
        return None
    return LoadBalancerContext(previous, policy.host_selection_attempts)
