"""One connection to a Nacos 2 or 3 over gRPC: the handshake, unary requests, and what the server sends by itself.

The order is Nacos's own (``common/remote/client/grpc/GrpcClient``): ServerCheckRequest; the stream; ConnectionSetupRequest on
it; then requests. What the server sends on the stream must be answered, or it ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.nacos.payload import Payload

CALL_DEADLINE_S = 10.0
SETUP_WAIT_S = 0.1
"""An old server does not confirm the set-up; its own client waits as long."""
MAX_QUEUED = 10_000
_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
]
_RESPONSES = {
    "NotifySubscriberRequest": "NotifySubscriberResponse",
    "ClientDetectionRequest": "ClientDetectionResponse",
    "ConnectResetRequest": "ConnectResetResponse",
    "SetupAckRequest": "SetupAckResponse",
}


class NacosConnection:
    """Open with ``connected``; every failure is a RegistryFault."""

    def __init__(self, channel: grpc.aio.Channel, target: str, credentials: dict[str, str]) -> None:
        """``credentials`` go into the headers of every request."""
        self._target = target
        self._credentials = credentials
        self._numbers = itertools.count(1)
        self._unary: Any = channel.unary_unary("/Request/request", bytes, bytes)
        self._stream: Any = channel.stream_stream("/BiRequestStream/requestBiStream", bytes, bytes)
        self._call: Any = None

    async def set_up(self, namespace: str) -> None:
        """The handshake. Raises RegistryFault."""
        await self.ask("ServerCheckRequest", {})
        self._call = self._stream()
        labels = {"source": "sdk", "module": "naming"}
        body = {"clientVersion": "Isthmus-Bridge:v2.3.0", "tenant": namespace, "labels": labels, "abilityTable": {}}
        await self._send("ConnectionSetupRequest", body)
        await asyncio.sleep(SETUP_WAIT_S)

    async def ask(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer. Raises RegistryFault."""
        request = Payload(kind, {"requestId": str(next(self._numbers)), "headers": self._credentials, **body})
        try:
            answer = Payload.decode(await self._unary(request.encode(), timeout=CALL_DEADLINE_S))
        except grpc.aio.AioRpcError as error:
            raise RegistryFault(f"Nacos at {self._target}: {error.code().name} {error.details()}") from error
        except ValueError as error:
            raise RegistryFault(f"Nacos at {self._target} answers {kind} with something else ({error})") from error
        if answer.type == "ErrorResponse" or answer.body.get("resultCode", 200) != 200:
            code, message = answer.body.get("errorCode"), str(answer.body.get("message"))[:200]
            raise RegistryFault(f"Nacos at {self._target} refuses {kind}: {code} {message}")
        return answer.body

    async def pushes(self, push: Callable[[dict[str, Any]], None]) -> None:
        """Answer what the server sends until the connection ends; ``push`` takes each NotifySubscriberRequest.

        Raises RegistryFault at the end.
        """
        try:
            async for data in self._call:
                request = Payload.decode(data)
                if request.type == "NotifySubscriberRequest":
                    push(request.body)
                if request.type in _RESPONSES:
                    answer = {"resultCode": 200, "errorCode": 0, "requestId": request.body.get("requestId", "")}
                    await self._send(_RESPONSES[request.type], answer)
                if request.type == "ConnectResetRequest":
                    raise RegistryFault(f"Nacos at {self._target} asks to connect again")
        except grpc.aio.AioRpcError as error:
            raise RegistryFault(f"Nacos at {self._target}: {error.code().name} {error.details()}") from error
        except ValueError as error:
            raise RegistryFault(f"Nacos at {self._target} sends something else ({error})") from error
        raise RegistryFault(f"Nacos at {self._target} ended the connection")

    async def _send(self, kind: str, body: dict[str, Any]) -> None:
        try:
            await self._call.write(Payload(kind, body).encode())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise RegistryFault(f"Nacos at {self._target} does not take {kind}") from error


@contextlib.asynccontextmanager
async def connected(target: str, namespace: str, credentials: dict[str, str]) -> AsyncIterator[NacosConnection]:
    """A connection after its handshake. Raises RegistryFault."""
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        connection = NacosConnection(channel, target, credentials)
        await connection.set_up(namespace)
        yield connection
