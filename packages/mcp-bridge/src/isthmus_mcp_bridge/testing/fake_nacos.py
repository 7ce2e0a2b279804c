"""A Nacos in memory: the HTTP interface of Nacos 1 and the gRPC one of Nacos 2, over the same services."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web

from isthmus_mcp_bridge.registries.nacos.payload import Payload
from isthmus_mcp_bridge.testing.http_server import HttpServer, free_port

GROUP = "DEFAULT_GROUP"

if TYPE_CHECKING:
    _GenericHandler = grpc.GenericRpcHandler[Any, Any]
else:
    _GenericHandler = grpc.GenericRpcHandler  # only the stubs know it as generic


class FakeNacos:
    """Services of the default group by name, each a list of hosts."""

    def __init__(self) -> None:
        routes = [
            web.get("/nacos/v1/ns/service/list", self._list),
            web.get("/nacos/v1/ns/instance/list", self._instances),
        ]
        self.http = HttpServer(routes)
        self.grpc_target = f"127.0.0.1:{free_port()}"
        self.services: dict[str, list[dict[str, Any]]] = {}
        self.lost_names = 0
        """How many names a list leaves out although it counts them: a partial page."""
        self._server: grpc.aio.Server | None = None
        self._streams: dict[str, _Stream] = {}
        self._numbers = itertools.count(1)

    def host(self, address: str, port: int, **more: Any) -> dict[str, Any]:
        """An instance as Nacos writes it."""
        return {
            "instanceId": f"{address}#{port}", "ip": address, "port": port, "weight": 1.0, "healthy": True,
            "enabled": True, "ephemeral": True, "metadata": {}, **more,
        }  # fmt: skip

    def put(self, name: str, hosts: list[dict[str, Any]] | None) -> None:
        """Set a service's hosts and push them; None removes the service."""
        if hosts is None:
            self.services.pop(name, None)
        else:
            self.services[name] = hosts
        for stream in self._streams.values():
            if name in stream.subscribed:
                stream.push(self._info(name))

    async def start(self) -> None:
        """Serve both interfaces."""
        await self.http.start()
        if self._server is None:
            self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            self._server.add_generic_rpc_handlers((self._handlers(),))
            self._server.add_insecure_port(self.grpc_target)
            await self._server.start()

    async def stop(self) -> None:
        """End all connections and listen no longer."""
        await self.http.stop()
        if self._server is not None:
            server, self._server = self._server, None
            for stream in self._streams.values():
                stream.end()
            self._streams.clear()
            await server.stop(0)

    def _handlers(self) -> Any:
        unary = grpc.unary_unary_rpc_method_handler(self._request, bytes, bytes)
        stream = grpc.stream_stream_rpc_method_handler(self._bi_stream, bytes, bytes)
        return _Handlers({"/Request/request": unary, "/BiRequestStream/requestBiStream": stream})

    async def _request(self, data: bytes, context: Any) -> bytes:
        request = Payload.decode(data)
        answer: dict[str, Any] = {"resultCode": 200, "errorCode": 0, "requestId": request.body.get("requestId")}
        kind = request.type.removesuffix("Request") + "Response"
        if request.type == "ServerCheckRequest":
            answer["connectionId"] = f"c{next(self._numbers)}"
        elif request.type == "ServiceListRequest":
            names, count = self._page(request.body["pageNo"], request.body["pageSize"])
            answer |= {"count": count, "serviceNames": names}
        elif request.type == "SubscribeServiceRequest":
            name = request.body["serviceName"]
            stream = self._streams.get(_host(context.peer()))
            if stream is None:
                return Payload("ErrorResponse", {"resultCode": 500, "errorCode": 301, "message": "not set up"}).encode()
            (stream.subscribed.add if request.body["subscribe"] else stream.subscribed.discard)(name)
            answer["serviceInfo"] = self._info(name)
        return Payload(kind, answer).encode()

    async def _bi_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        setup = Payload.decode(await anext(aiter(requests)))
        assert setup.type == "ConnectionSetupRequest"
        stream = self._streams[_host(context.peer())] = _Stream()
        while (data := await stream.queue.get()) is not None:
            yield data
            answer = Payload.decode(await anext(aiter(requests)))
            assert answer.type == "NotifySubscriberResponse"

    def _info(self, name: str) -> dict[str, Any]:
        hosts = self.services.get(name, [])
        return {
            "name": name,
            "groupName": GROUP,
            "hosts": hosts,
            "lastRefTime": 1,
            "checksum": "",
            "cacheMillis": 10000,
        }

    def _page(self, number: int, size: int) -> tuple[list[str], int]:
        names = sorted(self.services)
        kept = names[: len(names) - self.lost_names]
        return kept[(number - 1) * size : number * size], len(names)

    async def _list(self, request: web.Request) -> web.Response:
        names, count = self._page(int(request.query["pageNo"]), int(request.query["pageSize"]))
        return web.json_response({"count": count, "doms": names})

    async def _instances(self, request: web.Request) -> web.Response:
        return web.json_response(self._info(request.query["serviceName"].partition("@@")[2]))


class _Stream:
    """One client's stream and what it subscribed to."""

    def __init__(self) -> None:
        self.subscribed: set[str] = set()
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def push(self, info: dict[str, Any]) -> None:
        """Send the client a service."""
        body = {"requestId": "p", "serviceName": info["name"], "groupName": GROUP, "serviceInfo": info}
        self.queue.put_nowait(Payload("NotifySubscriberRequest", body).encode())

    def end(self) -> None:
        """End the stream."""
        self.queue.put_nowait(None)


class _Handlers(_GenericHandler):
    """Handlers by full path; the services of Nacos have no package."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call."""
        return self._handlers.get(handler_call_details.method)


def _host(peer: str) -> str:
    """The peer as gRPC names it, which is the same for all calls of a connection."""
    return peer
