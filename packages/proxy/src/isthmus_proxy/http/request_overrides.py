"""What an internal client asks of the router by headers: time-outs and retries of its request (Envoy's x-envoy-* headers). Pure.

The headers are taken out of the head once they are read. A value that is none is ignored, as in Envoy.
"""

from __future__ import annotations

from dataclasses import replace

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import ForwardAction, RetryPolicy

_RETRY_ON = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
    ]
)
_RETRY_GRPC_ON = frozenset(["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"])
_READ_HERE = frozenset(
    b"x-envoy-retry-on x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-retriable-status-codes x-envoy-retriable-header-names "
    b"x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-timeout-alt-response "
    b"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-stream-duration-ms x-envoy-hedge-on-per-try-timeout".split()
)


def overridden(action: ForwardAction, head: RequestHead) -> ForwardAction:
    """``action`` as the headers of ``head`` change it; they are removed from it."""
    asked = {name: value for name, value in head.headers if name in _READ_HERE}
    if not asked:
        return action
    head.headers = [field for field in head.headers if field[0] not in _READ_HERE]
    timeout = _milliseconds(asked, b"x-envoy-upstream-rq-timeout-ms")
    return replace(
        action,
        timeout=action.timeout if timeout is None else timeout,
        timeout_status=204 if b"x-envoy-upstream-rq-timeout-alt-response" in asked else 504,
        retry_policy=_policy(action.retry_policy, asked),
    )


def _policy(configured: RetryPolicy | None, asked: dict[bytes, bytes]) -> RetryPolicy | None:
    policy = configured or RetryPolicy(frozenset())
    wanted = _names(asked, b"x-envoy-retry-on", _RETRY_ON) | _names(asked, b"x-envoy-retry-grpc-on", _RETRY_GRPC_ON)
    codes = _numbers(asked.get(b"x-envoy-retriable-status-codes", b""))
    retries = _numbers(asked.get(b"x-envoy-max-retries", b""))
    per_try = _milliseconds(asked, b"x-envoy-upstream-rq-per-try-timeout-ms")
    policy = replace(
        policy,
        retry_on=policy.retry_on | wanted,
        num_retries=retries[0] if retries else policy.num_retries,
        retriable_status_codes=policy.retriable_status_codes | frozenset(codes),
        per_try_timeout=policy.per_try_timeout if per_try is None else per_try or None,
    )
    return policy if policy.retry_on or policy.per_try_timeout else None


def _names(asked: dict[bytes, bytes], header: bytes, known: frozenset[str]) -> frozenset[str]:
    words = asked.get(header, b"").decode("latin-1").split(",")
    return frozenset(word.strip() for word in words) & known


def _numbers(value: bytes) -> list[int]:
    words = [word.strip() for word in value.split(b",")]
    return [int(word) for word in words if word.isdigit() and len(word) <= 9]


def _milliseconds(asked: dict[bytes, bytes], header: bytes) -> float | None:
    """The header in seconds; None if it is not there, or no number."""
    numbers = _numbers(asked.get(header, b""))
    return numbers[0] / 1000.0 if numbers else None
