"""A rate limit service that lets everything pass, for what asking it costs a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

_OK = RateLimitResponse(overall_code=RateLimitResponse.OK)


def _allow(_request: RateLimitRequest, _context: object) -> RateLimitResponse:
    return _OK


@contextmanager
def rate_limit_service() -> Iterator[int]:
    """Serve until the block ends; gives the port on loopback."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(
        _allow, RateLimitRequest.FromString, RateLimitResponse.SerializeToString
    )
    name = "envoy.service.ratelimit.v3.RateLimitService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"ShouldRateLimit": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
