"""Headers that concern one connection and never pass through (RFC 9110, 7.6.1), as Envoy drops them."""

from __future__ import annotations

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.message import Headers

_REQUEST = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"transfer-encoding", b"te"})
_RESPONSE = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"transfer-encoding"})

_INTERNAL = frozenset(
    b"x-envoy-retry-on x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-retriable-status-codes x-envoy-retriable-header-names "
    b"x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-timeout-alt-response "
    b"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-stream-duration-ms x-envoy-expected-rq-timeout-ms "
    b"x-envoy-hedge-on-per-try-timeout x-envoy-force-trace x-envoy-ip-tags x-envoy-original-url x-envoy-internal".split()
)
"""What only a trusted client may say; nobody is trusted as long as no internal addresses are configured (Envoy >= 1.33)."""


def request_headers(request: ParsedRequest) -> Headers:
    """The headers of ``request`` that may be forwarded. ``te`` survives as ``trailers`` only."""
    named = request.connection
    drop = _REQUEST | _INTERNAL
    if named:
        drop = drop.union(named) - {b"te"} | _REQUEST
    if request.expect_continue:
        drop |= {b"expect"}
    headers = [field for field in request.headers if field[0] not in drop]
    if any(name == b"te" and b"trailers" in _members(value) for name, value in request.headers):
        headers.insert(_position(request, drop), (b"te", b"trailers"))
    return headers


def _members(value: bytes) -> list[bytes]:
    return [member.split(b";")[0].strip(b" \t").lower() for member in value.split(b",")]


def _position(request: ParsedRequest, drop: frozenset[bytes]) -> int:
    """How many forwarded headers come before ``te``."""
    before = 0
    for name, _ in request.headers:
        if name == b"te":
            break
        before += name not in drop
    return before


def response_headers(response: ParsedResponse) -> Headers:
    """The headers of ``response`` that may be forwarded. Those named by Connection stay, as in Envoy."""
    return [field for field in response.headers if field[0] not in _RESPONSE]
