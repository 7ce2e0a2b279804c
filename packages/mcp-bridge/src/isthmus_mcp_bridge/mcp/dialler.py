"""Classic MCP with the roles of the connection swapped: the bridge dials a sink's ``ResourceSink`` and serves it there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc

from isthmus_api.istio.mcp.v1alpha1.mcp_pb2 import RequestResources, Resources
from isthmus_mcp_bridge.mcp.classic import TRIGGER

METHOD = "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream"
RETRY_S = 1.0
"""Istio's own diallers wait as long; there is one a sink, so there is no herd."""

log = logging.getLogger(__name__)
Serve = Callable[[Any, Any], Awaitable[None]]
"""Runs one stream: requests, and a context to write to."""


class DialledStream:
    """What a stream's server side has of its context, on a call that the bridge made."""

    def __init__(self, call: Any, target: str) -> None:
        self._call = call
        self._target = target

    def peer(self) -> str:
        """The sink's address."""
        return self._target

    async def write(self, data: bytes) -> None:
        """Send one message."""
        await self._call.write(data)

    async def abort(self, code: grpc.StatusCode, message: str) -> NoReturn:
        """End the stream."""
        self._call.cancel()
        raise ConnectionAbortedError(f"{code.name}: {message}")


async def dial(target: str, serve: Serve) -> None:
    """Serve the sink at ``target`` until cancelled; a stream that ends is opened again."""
    while True:
        try:
            async with grpc.aio.insecure_channel(target) as channel:
                method: Any = channel.stream_stream(METHOD, bytes, RequestResources.FromString)
                call = method()
                await call.write(Resources(collection=TRIGGER).SerializeToString())
                await serve(call, DialledStream(call, target))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, ConnectionAbortedError) as error:
            log.debug("sink %s: %s", target, error)
        await asyncio.sleep(RETRY_S)
