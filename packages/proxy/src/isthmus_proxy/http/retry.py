"""Whether and when to try again (config.route.v3.RetryPolicy). Pure: randomness and the time are parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from isthmus_proxy.cluster.circuit_breaker import CircuitBreaker
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.http.local_reply import CONNECT_FAILURES, OVERFLOW, REMOTE_REFUSED
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.matcher import FieldsTest, fields_tests
from isthmus_proxy.route.model import RateLimitedBackOff, RetryPolicy
from isthmus_proxy.route.request_groups import Groups
from isthmus_proxy.runtime import Runtime

_ANY_RESET = frozenset({"5xx", "gateway-error", "reset"})
_GRPC_CODES = {
    "cancelled": b"1",
    "deadline-exceeded": b"4",
    "resource-exhausted": b"8",
    "internal": b"13",
    "unavailable": b"14",
}
_NONE: frozenset[str] = frozenset()
Fields = Headers | tuple[tuple[bytes, bytes], ...]


class RetryRules:
    """A retry policy compiled for use; made once for each policy in use.

    ``retries`` tells whether a request with this head may be retried at all (retriable_request_headers).
    """

    __slots__ = ("_request_tests", "grpc_codes", "policy", "response_tests")

    def __init__(self, policy: RetryPolicy) -> None:
        self.policy = policy
        self.response_tests: Sequence[FieldsTest] = fields_tests(policy.retriable_headers)
        self._request_tests: Sequence[FieldsTest] = fields_tests(policy.request_headers)
        self.grpc_codes = frozenset(_GRPC_CODES[name] for name in policy.retry_on if name in _GRPC_CODES)

    def retries(self, request: RequestHead) -> bool:
        """Whether ``request`` is one of those that the policy is for."""
        return not self._request_tests or any(test(request) for test in self._request_tests)


@lru_cache(maxsize=1024)
def retry_rules(policy: RetryPolicy) -> RetryRules:
    """The rules of ``policy``; equal policies share them."""
    return RetryRules(policy)


class RetryState:
    """How many retries are left to one request, and what it has tried. ``remaining`` starts at the policy's number."""

    __slots__ = ("_base_interval", "_retry_on", "_rules", "remaining", "tried")

    def __init__(self, rules: RetryRules, request: RequestHead, runtime: Runtime) -> None:
        policy = rules.policy
        self._rules = rules
        self._retry_on = policy.retry_on if rules.retries(request) else _NONE
        self.remaining = policy.num_retries
        self.tried = 0
        base = policy.base_interval
        self._base_interval = runtime.integer("upstream.base_retry_backoff_ms", 25) / 1000 if base is None else base

    def wants_reset(self, reason: str, *, sent: bool) -> bool:
        """Whether losing the request for ``reason`` is worth a retry. ``sent``: some of it may have reached the endpoint."""
        if reason == OVERFLOW:
            return False
        retry_on = self._retry_on
        return (
            not _ANY_RESET.isdisjoint(retry_on)
            or ("connect-failure" in retry_on and reason in CONNECT_FAILURES)
            or ("reset-before-request" in retry_on and not sent)
            or ("refused-stream" in retry_on and reason == REMOTE_REFUSED)
        )

    def wants_timeout(self) -> bool:
        """Whether a per-try timeout is worth a retry."""
        return not _ANY_RESET.isdisjoint(self._retry_on)

    def wants_response(self, status: int, headers: Fields) -> bool:
        """Whether a response is worth a retry instead of being forwarded."""
        retry_on = self._retry_on
        if not retry_on:
            return False
        if any(name == b"x-envoy-ratelimited" for name, _ in headers):
            return "envoy-ratelimited" in retry_on
        return (
            ("5xx" in retry_on and status >= 500)
            or ("gateway-error" in retry_on and status in (502, 503, 504))
            or ("retriable-4xx" in retry_on and status == 409)
            or ("retriable-status-codes" in retry_on and status in self._rules.policy.retriable_status_codes)
            or ("retriable-headers" in retry_on and self._has_retriable_header(headers))
            or self._wants_grpc(headers)
        )

    def _has_retriable_header(self, headers: Fields) -> bool:
        tests = self._rules.response_tests
        head = RequestHead(b"", b"", b"", list(headers)) if tests else None
        return head is not None and any(test(head) for test in tests)

    def _wants_grpc(self, headers: Fields) -> bool:
        wanted = self._rules.grpc_codes
        return bool(wanted) and any(name == b"grpc-status" and value in wanted for name, value in headers)

    def take(self) -> None:
        """Use up one retry."""
        self.remaining -= 1
        self.tried += 1

    def back_off(self, random: float) -> float:
        """Seconds to wait before the retry just taken: uniform below base * 2^(n-1), at most the maximum; ``random`` in [0, 1)."""
        base, longest = self._base_interval, self._rules.policy.max_interval
        return random * min(base * 2.0 ** min(self.tried - 1, 62), base * 10 if longest is None else longest)

    def asked_to_wait(self, headers: Fields, wall_clock: float, random: float) -> float | None:
        """Seconds to wait as the response's reset headers ask for, from once to one and a half times; None if none counts."""
        limits = self._rules.policy.rate_limited
        interval = None if limits is None else _reset_interval(limits, headers, wall_clock)
        return None if interval is None else interval * (1 + random / 2)


def _reset_interval(limits: RateLimitedBackOff, headers: Fields, wall_clock: float) -> float | None:
    for wanted, kind in limits.reset_headers:
        value = next((value for name, value in headers if name == wanted), b"")
        if not value.isdigit() or len(value) > 15:
            continue
        interval = int(value) - (int(wall_clock) if kind == "UNIX_TIMESTAMP" else 0)
        if 0 < interval <= limits.max_interval:
            return float(interval)
    return None


def admit(
    retry: RetryState,
    cluster: Cluster,
    breaker: CircuitBreaker,
    info: StreamInfo,
    runtime: Runtime,
    random: float,
    groups: Groups = (),
) -> bool:
    """Take one retry if some are left and the cluster's circuit breaker allows it; else note why not (URX before UO)."""
    if retry.remaining <= 0:
        info.flag("URX")
        cluster.stats.upstream_rq_retry_limit_exceeded.value += 1
        for group in groups:
            group.upstream_rq_retry_limit_exceeded.value += 1
        return False
    if breaker.active_retries >= breaker.max_retries:
        info.flag("UO")
        cluster.stats.upstream_rq_retry_overflow.value += 1
        for group in groups:
            group.upstream_rq_retry_overflow.value += 1
        return False
    if random * 100 >= runtime.integer("upstream.use_retry", 100):
        return False
    retry.take()
    breaker.active_retries += 1
    cluster.stats.upstream_rq_retry.value += 1
    for group in groups:
        group.upstream_rq_retry.value += 1
    return True
