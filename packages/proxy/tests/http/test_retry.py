"""Retry conditions and back-off; local replies for gRPC clients."""

from __future__ import annotations

import pytest

from isthmus_proxy.http.local_reply import (
    CONNECTION_TERMINATION,
    OVERFLOW,
    REMOTE_CONNECTION_FAILURE,
    ROUTE_NOT_FOUND,
    LocalReply,
    headers_of,
    is_grpc,
    upstream_reset,
)
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.retry import RetryState, retry_rules
from isthmus_proxy.route.model import RetryPolicy
from isthmus_proxy.runtime import Runtime


def state(*conditions: str, **options: object) -> RetryState:
    policy = RetryPolicy(frozenset(conditions), **options)  # type: ignore[arg-type]
    return RetryState(retry_rules(policy), RequestHead(b"GET", b"/", b"h", []), Runtime())


@pytest.mark.parametrize(
    ("conditions", "reason", "sent", "wanted"),
    [
        (("5xx",), CONNECTION_TERMINATION, True, True),
        (("reset",), REMOTE_CONNECTION_FAILURE, False, True),
        (("gateway-error",), OVERFLOW, False, False),
        (("connect-failure",), REMOTE_CONNECTION_FAILURE, False, True),
        (("connect-failure",), CONNECTION_TERMINATION, True, False),
        (("reset-before-request",), CONNECTION_TERMINATION, False, True),
        (("reset-before-request",), CONNECTION_TERMINATION, True, False),
        (("refused-stream",), CONNECTION_TERMINATION, False, False),
    ],
)
def test_resets(conditions: tuple[str, ...], reason: str, sent: bool, wanted: bool) -> None:
    assert state(*conditions).wants_reset(reason, sent=sent) is wanted


@pytest.mark.parametrize(
    ("conditions", "status", "headers", "wanted"),
    [
        ("5xx", 500, [], True),
        ("5xx", 499, [], False),
        ("gateway-error", 500, [], False),
        ("gateway-error", 504, [], True),
        ("retriable-4xx", 409, [], True),
        ("retriable-4xx", 404, [], False),
        ("retriable-status-codes", 418, [], True),
        ("5xx", 503, [(b"x-envoy-ratelimited", b"true")], False),
        ("envoy-ratelimited", 429, [(b"x-envoy-ratelimited", b"true")], True),
        ("unavailable", 200, [(b"grpc-status", b"14")], True),
        ("unavailable", 200, [(b"grpc-status", b"13")], False),
    ],
)
def test_responses(conditions: str, status: int, headers: list[tuple[bytes, bytes]], wanted: bool) -> None:
    retry = state(conditions, retriable_status_codes=frozenset({418}))
    assert retry.wants_response(status, headers) is wanted


def test_back_off_doubles_up_to_its_maximum() -> None:
    retry = state("5xx", num_retries=9)
    delays = []
    for _ in range(6):
        retry.take()
        delays.append(retry.back_off(1.0))
    assert delays == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]
    assert retry.back_off(0.0) == 0.0
    assert retry.remaining == 3


@pytest.mark.parametrize(
    ("reply", "code"),
    [(ROUTE_NOT_FOUND, b"12"), (upstream_reset(OVERFLOW, "", retried=False), b"14"), (LocalReply(418, "x"), b"2")],
)
def test_grpc_clients_get_trailers_only(reply: LocalReply, code: bytes) -> None:
    status, headers, body = headers_of(reply, grpc=True)
    assert (status, body) == (200, b"")
    assert (b"grpc-status", code) in headers


def test_grpc_content_types_and_messages() -> None:
    assert is_grpc(b"application/grpc")
    assert is_grpc(b"application/grpc+proto")
    assert not is_grpc(b"application/grpc-web")
    assert not is_grpc(None)
    _, headers, _ = headers_of(LocalReply(503, "x", "50 % ü".encode()), grpc=True)
    assert (b"grpc-message", b"50 %25 %C3%BC") in headers
