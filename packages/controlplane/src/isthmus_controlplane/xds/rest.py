"""xDS over REST-JSON: ``POST /v3/discovery:TYPE``, as Envoy polls it (``api_type: REST``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from aiohttp import web
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf import json_format

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.snapshot.resource_type import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
)
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import Response, SotwRequest, Variant
from isthmus_controlplane.xds.wire import decode, encode

# The paths of the HTTP bindings in Envoy's service definitions.
PATHS = {
    "clusters": CLUSTER,
    "endpoints": ENDPOINT,
    "listeners": LISTENER,
    "routes": ROUTE,
    "scoped-routes": SCOPED_ROUTE,
    "secrets": SECRET,
    "runtime": RUNTIME,
    "extension_configs": EXTENSION_CONFIG,
}
_STATUSES = {"INVALID_ARGUMENT": 400, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}
Fetch = Callable[[SotwRequest, Node], Awaitable[Response]]


class RestServer:
    """Answers polls; a client that has the newest version gets 304."""

    def __init__(self, fetch: Fetch, identifier: str, max_request_bytes: int) -> None:
        """Prepare.

        Args:
            fetch: answers a request of a node.
            identifier: text of ``control_plane``.
            max_request_bytes: largest body.
        """
        self._fetch = fetch
        self._identifier = identifier
        self._max_request_bytes = max_request_bytes
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the bound port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        app = web.Application(client_max_size=self._max_request_bytes)
        app.add_routes([web.post("/v3/discovery:{kind}", self._discover)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.stop()
            text = f"--rest {host}:{port}: cannot listen: {error.strerror}; choose another address"
            raise ConfigError(text) from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _discover(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind not in PATHS:
            return _failure(404, f"there is no type {kind!r}: use one of {', '.join(PATHS)}")
        try:
            asked, node, version = _read_json(await request.read(), PATHS[kind])
            response = await self._fetch(asked, node)
        except StreamError as error:
            return _failure(_STATUSES.get(error.code, 500), str(error))
        if version and version == response.version and asked.error is None:
            return web.Response(status=304)
        text = await asyncio.to_thread(self._text, response)
        return web.Response(text=text, content_type="application/json")

    def _text(self, response: Response) -> str:
        raw = encode(Variant.SOTW, response, self._identifier)
        return json_format.MessageToJson(DiscoveryResponse.FromString(raw), indent=None)


def _read_json(body: bytes, type_url: str) -> tuple[SotwRequest, Node, str]:
    """Read a request in its JSON form: what it asks for, who asks, and the version that it has.

    Raises:
        StreamError: it is none, or names another type.
    """
    try:
        message: Any = json_format.Parse(body, DiscoveryRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise StreamError("INVALID_ARGUMENT", f"the body is no DiscoveryRequest in JSON: {error}") from error
    asked, node = _read(message.SerializeToString(), type_url)
    return asked, node, str(message.version_info)


def _read(raw: bytes, type_url: str) -> tuple[SotwRequest, Node]:
    """Read a request and who asks.

    Raises:
        StreamError: it is none, names another type, or nobody.
    """
    asked, node = decode(Variant.SOTW, raw)
    if node is None or not isinstance(asked, SotwRequest):
        raise StreamError("INVALID_ARGUMENT", "node is missing: every request without a stream has to say who asks")
    if asked.type_url not in {"", type_url}:
        raise StreamError("INVALID_ARGUMENT", f"type_url {asked.type_url}: this is for {type_url}")
    return SotwRequest(type_url, asked.names, asked.nonce, asked.error), node


def _failure(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def unary(type_url: str, fetch: Fetch, identifier: str) -> Any:
    """Return the handler of a ``Fetch*`` method."""

    async def behaviour(raw: bytes, context: Any) -> bytes:
        try:
            asked, node = _read(raw, type_url)
            return encode(Variant.SOTW, await fetch(asked, node), identifier)
        except StreamError as error:
            await context.abort(grpc.StatusCode[error.code], str(error))
            raise

    handler: Any = behaviour
    return grpc.unary_unary_rpc_method_handler(handler)
