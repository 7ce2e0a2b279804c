"""Headers that concern one connection and never pass through (RFC 9110, 7.6.1), as Envoy drops them."""

from __future__ import annotations

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.message import Headers

_REQUEST = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"transfer-encoding", b"te"})
_RESPONSE = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"transfer-encoding"})
_SWITCHING = _RESPONSE - {b"connection", b"upgrade"}

_INTERNAL = frozenset(
    b"x-envoy-retry-on x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-retriable-status-codes x-envoy-retriable-header-names "
    b"x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-timeout-alt-response "
    b"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-stream-duration-ms x-envoy-expected-rq-timeout-ms "
    b"x-envoy-hedge-on-per-try-timeout x-envoy-force-trace x-envoy-ip-tags x-envoy-original-url x-envoy-internal".split()
)
"""What only an internal client may say; nobody is internal as long as no internal addresses are configured (Envoy >= 1.33)."""

_ALWAYS_REPLACED = frozenset({b"x-envoy-expected-rq-timeout-ms", b"x-envoy-internal"})

_JOINED_REQUEST = frozenset(
    b"accept accept-encoding access-control-request-headers access-control-request-method authorization cache-control "
    b"content-type expect grpc-accept-encoding grpc-timeout if-match if-modified-since if-none-match if-range "
    b"if-unmodified-since origin pragma referer user-agent via x-envoy-attempt-count x-envoy-decorator-operation "
    b"x-envoy-downstream-service-cluster x-envoy-downstream-service-node x-envoy-external-address x-envoy-original-path "
    b"x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id".split()
)
_JOINED_RESPONSE = frozenset(
    b"access-control-allow-credentials access-control-allow-headers access-control-allow-methods access-control-allow-origin "
    b"access-control-expose-headers access-control-max-age age cache-control content-encoding content-type date etag expires "
    b"grpc-message grpc-status last-modified location proxy-status server vary via x-request-id".split()
)
"""Headers whose lines Envoy joins into one when they are repeated; all others stay as they came."""


def request_headers(request: ParsedRequest, *, internal: bool, keep_expect: bool = False) -> Headers:
    """The headers of ``request`` that may be forwarded; ``te`` survives as ``trailers`` only.

    An ``internal`` client's headers for this proxy are kept: the route's plan takes them out once it has read them. With
    ``keep_expect`` the endpoint answers ``expect: 100-continue``, without it the proxy has done so.
    """
    named = request.connection
    drop = _REQUEST | (_ALWAYS_REPLACED if internal else _INTERNAL)
    if named:
        drop = drop.union(named) - {b"te"} | _REQUEST
    if request.expect_continue and not keep_expect:
        drop |= {b"expect"}
    headers = [field for field in request.headers if field[0] not in drop]
    if any(name == b"te" and b"trailers" in _members(value) for name, value in request.headers):
        headers.insert(_position(request, drop), (b"te", b"trailers"))
    return joined(headers, _JOINED_REQUEST)


def joined(headers: Headers, names: frozenset[bytes]) -> Headers:
    """``headers`` with the repeated ones among ``names`` made one, in the place of the first."""
    if len({name for name, _ in headers}) == len(headers):
        return headers
    places: dict[bytes, int] = {}
    result: Headers = []
    for name, value in headers:
        place = places.get(name) if name in names else None
        if place is None:
            places[name] = len(result)
            result.append((name, value))
        else:
            result[place] = (name, result[place][1] + b"," + value)
    return result


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
    """The headers of ``response`` that may be forwarded. Those named by Connection stay, as in Envoy.

    An answer that switches protocols says to which.
    """
    if response.status == 101:
        return joined([field for field in response.headers if field[0] not in _SWITCHING], _JOINED_RESPONSE)
    return joined([field for field in response.headers if field[0] not in _RESPONSE], _JOINED_RESPONSE)
