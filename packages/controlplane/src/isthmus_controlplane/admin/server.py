"""The admin HTTP server: status for operators and the configuration API for isthmusctl."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from isthmus_controlplane import __version__
from isthmus_controlplane.admin import render
from isthmus_controlplane.admin.metrics import metrics_text
from isthmus_controlplane.config import HostPort
from isthmus_controlplane.configuration import Configuration, NotFoundError, NotReadyError, RefusedError
from isthmus_controlplane.errors import ConfigError, ControlPlaneError, StoreError
from isthmus_controlplane.publisher import Publisher
from isthmus_controlplane.stores.base import ConflictError, Problem
from isthmus_controlplane.xds.server import XdsServer

MAX_BODY_BYTES = 16 * 1024 * 1024
YAML_TYPE, JSON_TYPE = "application/yaml", "application/json"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequestError(ControlPlaneError):
    """The request cannot be read."""


class AdminServer:
    """Serves the admin endpoints."""

    def __init__(self, publisher: Publisher, xds: XdsServer, configuration: Configuration) -> None:
        self._publisher = publisher
        self._xds = xds
        self._configuration = configuration
        self._runner: web.AppRunner | None = None

    async def start(self, address: HostPort) -> HostPort:
        """Listen; returns the bound address.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_only_local_names, _errors])
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, address.host, address.port).start()
        except OSError as error:
            await self.stop()
            raise ConfigError(f"--admin {address}: cannot listen: {error.strerror}; choose another address") from error
        return HostPort(address.host, int(self._runner.addresses[0][1]))

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._index),
            web.get("/ready", self._ready),
            web.get("/metrics", self._metrics),
            web.get("/status", self._status),
            web.get("/problems", self._problems),
            web.get("/debug/syncz", self._syncz),
            web.get("/debug/configz", self._configz),
            web.get("/debug/pushes", self._pushes),
            web.get("/v1/objects", self._get),
            web.post("/v1/objects", self._apply),
            web.delete("/v1/objects/{kind}/{namespace}/{name}", self._delete),
        ]

    async def _index(self, _: web.Request) -> web.Response:
        lines = [f"isthmus-controlplane {__version__}", *(f"{each.method} {each.path}" for each in self._routes())]
        return web.Response(text="\n".join(lines) + "\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._publisher.ready:
            return web.Response(text="ready\n")
        waiting = ", ".join(state.source for state in self._publisher.world.states if not state.synced)
        return web.Response(status=503, text=f"waiting for {waiting or 'the first translation'}\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        text = self._xds.metrics_text() + metrics_text(self._publisher)
        return web.Response(text=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": __version__,
                "ready": self._publisher.ready,
                "stores": [render.store(state) for state in self._publisher.world.states],
                "clients": self._clients(),
                "problems": render.problems(self._publisher.problems()),
                "held": sorted(str(key) for key in self._publisher.world.admission.held),
                "pushes": render.pushes(self._xds.pushes()[-1:]),
            }
        )

    def _clients(self) -> list[dict[str, Any]]:
        return [render.client(status, self._publisher.origins) for status in self._xds.clients()]

    async def _problems(self, _: web.Request) -> web.Response:
        return web.json_response({"problems": render.problems(self._publisher.problems())})

    async def _syncz(self, _: web.Request) -> web.Response:
        return web.json_response({"clients": self._clients()})

    async def _configz(self, _: web.Request) -> web.Response:
        in_use = self._publisher.world.admission.in_use
        return web.json_response({"in_use": [render.document(obj) for _, obj in sorted(in_use.items())]})

    async def _pushes(self, _: web.Request) -> web.Response:
        return web.json_response({"pushes": render.pushes(self._xds.pushes())})

    async def _get(self, request: web.Request) -> web.Response:
        wanted = {name: request.query.get(name, "") for name in ("kind", "name", "namespace")}
        found = self._configuration.find(**wanted)
        admission = self._publisher.world.admission
        items = [
            render.summary(obj, admission.in_use.get(obj.key), held=obj.key in admission.held)
            | {"object": render.document(obj)}
            for obj in found
        ]
        return web.json_response({"items": items})

    async def _apply(self, request: web.Request) -> web.Response:
        applied, warnings = await self._configuration.apply(await _texts(request))
        results = [{**done.key._asdict(), "version": done.version, "result": done.result} for done in applied]
        return web.json_response({"applied": results, "warnings": render.problems(warnings)})

    async def _delete(self, request: web.Request) -> web.Response:
        path = request.match_info
        key = await self._configuration.delete(path["kind"], path["namespace"], path["name"])
        return web.json_response({"deleted": key._asdict()})


async def _texts(request: web.Request) -> dict[str, str]:
    """Read the body of an apply: YAML, or JSON that maps file names to YAML under ``files``.

    Browsers send neither content type to another site without asking it first.
    """
    body = await request.read()
    try:
        if request.content_type == YAML_TYPE:
            return {"request": body.decode()}
        if request.content_type == JSON_TYPE:
            files = json.loads(body)["files"]
            return {str(name): str(text) for name, text in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequestError(f"the body cannot be read: {error}") from error
    raise BadRequestError(f"the content type {request.content_type!r} is neither {YAML_TYPE} nor {JSON_TYPE}")


def _failure(status: int, message: str, problems: tuple[Problem, ...] = ()) -> web.Response:
    return web.json_response({"error": message, "problems": render.problems(problems)}, status=status)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one place where errors become statuses."""
    try:
        return await handler(request)
    except RefusedError as error:
        return _failure(422, "refused; nothing was changed", error.problems)
    except BadRequestError as error:
        return _failure(400, str(error))
    except ConflictError as error:
        return _failure(409, str(error))
    except (NotFoundError, KeyError) as error:
        return _failure(404, str(error))
    except NotReadyError as error:
        return _failure(503, str(error))
    except StoreError as error:
        return _failure(500, str(error))


@web.middleware
async def _only_local_names(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests under other names than addresses: a web page could point its own name here (DNS rebinding)."""
    host = request.host.rpartition(":")[0] if not request.host.endswith("]") and ":" in request.host else request.host
    if host != "localhost" and not _is_address(host.strip("[]")):
        return _failure(403, f"the host {host!r} is neither an IP address nor localhost: use one of these")
    return await handler(request)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
