"""``grpc.health.v1.Health``: tells load balancers and probes that the server serves.

Its two messages have one field each, so they are written by hand rather than by a package of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse.status


def handlers(services: Callable[[], frozenset[str]], stopping: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """Return the methods of the service.

    Args:
        services: names of the services that are served; others are NOT_FOUND.
        stopping: returns once the server stops.
    """

    async def check(request: bytes, context: Any) -> bytes:
        if _service(request) not in {"", *services()}:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {_service(request)!r}")
        return SERVING

    async def watch(_request: bytes, context: Any) -> None:
        await context.write(SERVING)
        await asyncio.ensure_future(stopping())
        await context.write(NOT_SERVING)

    behaviours: Any = (check, watch)
    return {
        "Check": grpc.unary_unary_rpc_method_handler(behaviours[0]),
        "Watch": grpc.unary_stream_rpc_method_handler(behaviours[1]),
    }


def _service(request: bytes) -> str:
    """Read ``HealthCheckRequest.service``: field 1, whose length takes one byte for names of up to 127."""
    if len(request) < 2 or request[0] != 0x0A or request[1] > 0x7F:
        return ""
    return request[2 : 2 + request[1]].decode("utf-8", "replace")
