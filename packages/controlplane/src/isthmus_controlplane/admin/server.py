"""The admin HTTP server: status for operators and the configuration API for isthmusctl."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from isthmus_controlplane import __version__
from isthmus_controlplane.admin import render
from isthmus_controlplane.admin.explain import View, explain
from isthmus_controlplane.admin.metrics import metrics_text
from isthmus_controlplane.config import HostPort
from isthmus_controlplane.configuration import Configuration, NotFoundError, NotReadyError, RefusedError
from isthmus_controlplane.errors import ConfigError, ControlPlaneError, StoreError
from isthmus_controlplane.publisher import Publisher
from isthmus_controlplane.snapshot.resource_type import ROUTE
from isthmus_controlplane.stores.base import ConflictError, Problem
from isthmus_controlplane.telemetry.load_window import WINDOW_S
from isthmus_controlplane.translate.routing import Request
from isthmus_controlplane.xds.fleet import Client
from isthmus_controlplane.xds.resource_state import resource_state
from isthmus_controlplane.xds.server import XdsServer

MAX_BODY_BYTES = 16 * 1024 * 1024
YAML_TYPE, JSON_TYPE = "application/yaml", "application/json"
MAX_WAIT_S = 3600.0
MAX_NAMED = 10
WAIT_STEP_S = 0.02
# Limits of the xDS server that can be changed while it runs.
LIVE_LIMITS: dict[str, type] = {
    "max_streams": int,
    "streams_per_node": int,
    "streams_per_second": float,
    "stream_burst": int,
    "max_stream_age": float,
}
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
            web.get("/debug/loads", self._loads),
            web.get("/v1/wait", self._wait),
            web.get("/v1/explain", self._explain),
            web.get("/v1/limits", self._limits),
            web.patch("/v1/limits", self._set_limits),
            web.post("/v1/analyze", self._analyze),
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
                "conditions": [
                    *render.not_accepted(self._rejections()),
                    *render.unattached(self._publisher.world.admission.attached),
                ],
                "pushes": render.pushes(self._xds.pushes()[-1:]),
            }
        )

    def _clients(self) -> list[dict[str, Any]]:
        causes = self._causes()
        return [render.client(status, causes) for status in self._xds.clients()]

    def _causes(self) -> render.Causes:
        """Look each rejection up once, however many clients share it."""
        return functools.cache(self._publisher.causes)

    def _rejections(self) -> list[dict[str, Any]]:
        return render.rejections(self._xds.clients(), self._causes())

    async def _problems(self, _: web.Request) -> web.Response:
        return web.json_response({"problems": render.problems(self._publisher.problems())})

    async def _syncz(self, _: web.Request) -> web.Response:
        return web.json_response({"clients": self._clients()})

    async def _configz(self, _: web.Request) -> web.Response:
        in_use = self._publisher.world.admission.in_use
        return web.json_response({"in_use": [render.document(obj) for _, obj in sorted(in_use.items())]})

    async def _pushes(self, _: web.Request) -> web.Response:
        return web.json_response({"pushes": render.pushes(self._xds.pushes())})

    async def _wait(self, request: web.Request) -> web.Response:
        """Answer once everything that was applied is acknowledged by every client, or after ``timeout`` seconds."""
        try:
            seconds = min(float(request.query.get("timeout", "60")), MAX_WAIT_S)
        except ValueError as error:
            raise BadRequestError(f"timeout: {error}; give seconds") from error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._is_applied():  # noqa: ASYNC110 - stores, debounce and clients have no event in common
                    await asyncio.sleep(WAIT_STEP_S)
        rejections = self._rejections()
        applied = self._is_applied()
        answer = {
            "applied": applied and not rejections,
            "published": self._configuration.published,
            "waiting_for": [] if applied else list(self._xds.waited_for()),
            "rejections": rejections,
        }
        return web.json_response(answer)

    def _is_applied(self) -> bool:
        return self._configuration.published and self._xds.all_answered

    async def _explain(self, request: web.Request) -> web.Response:
        """Say which resources a request of a client meets, and what is behind them."""
        query = request.query
        client = self._one_client(query.get("client", ""))
        translation = self._publisher.translation(client.scope)
        if translation is None:
            raise NotFoundError(f"nothing is generated yet for {_name_of(client)}: try again")
        host, port = _host_and_port(query.get("host", ""))
        headers = dict(_header(each) for each in query.getall("header", []))
        asked = Request(host, query.get("path", "/"), query.get("method", "GET").upper(), headers)
        state = functools.partial(resource_state, client.session)
        view = View(client.scope, self._publisher.world.admission.model, translation, state)
        return web.json_response({"client": _name_of(client), "ways": explain(view, asked, port)})

    def _one_client(self, name: str) -> Client:
        found = self._xds.find_clients(name)
        names = sorted({_name_of(each) for each in found})
        if not found:
            connected = sorted({each.node_id or each.peer for each in self._xds.clients()})[:MAX_NAMED]
            raise NotFoundError(f"no client {name!r} is connected; there are {', '.join(connected) or 'none'}")
        if len(names) > 1:
            raise BadRequestError(f"client {name!r} may be any of {', '.join(names[:MAX_NAMED])}: write more of the id")
        # A client that has a stream for each type is asked on the one with routes.
        return next((each for each in found if ROUTE in each.session.watches), found[0])

    async def _limits(self, _: web.Request) -> web.Response:
        return web.json_response({name: getattr(self._xds.settings, name) for name in LIVE_LIMITS})

    async def _set_limits(self, request: web.Request) -> web.Response:
        """Change limits that count from now on; JSON, any of those that GET shows."""
        if request.content_type != JSON_TYPE:
            raise BadRequestError(f"the content type {request.content_type!r} is not {JSON_TYPE}")
        try:
            wanted = json.loads(await request.read())
            changes: dict[str, Any] = {str(name): _limit(str(name), value) for name, value in wanted.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise BadRequestError(f"the body cannot be read: {error}") from error
        self._xds.settings = dataclasses.replace(self._xds.settings, **changes)
        return await self._limits(request)

    async def _analyze(self, request: web.Request) -> web.Response:
        found = await self._configuration.analyze(await _texts(request))
        return web.json_response(
            {"problems": render.problems(found.refusals), "warnings": render.problems(found.warnings)}
        )

    async def _loads(self, request: web.Request) -> web.Response:
        """Loads by cluster; with ``host`` or ``cluster`` those of their endpoints too, of the last ``seconds``."""
        telemetry = self._xds.telemetry
        shown = render.telemetry(telemetry)
        host, cluster = request.query.get("host", ""), request.query.get("cluster", "")
        if host or cluster:
            seconds = _seconds(request.query.get("seconds", ""), WINDOW_S)
            shown = {name: value for name, value in shown.items() if name not in ("clusters", "access_logs")}
            shown["endpoints"] = render.endpoint_loads(telemetry, host, cluster, seconds)
        return web.json_response(shown)

    async def _get(self, request: web.Request) -> web.Response:
        wanted = {name: request.query.get(name, "") for name in ("kind", "name", "namespace")}
        found = self._configuration.find(**wanted)
        admission = self._publisher.world.admission
        rejected = render.rejections_by_object(self._rejections())
        items = [
            render.summary(obj, admission.in_use.get(obj.key), held=obj.key in admission.held)
            | {
                "object": render.document(obj),
                "conditions": render.conditions(
                    rejected.get(str(obj.key), []), str(obj.key), admission.attached.get(obj.key)
                ),
            }
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


def _name_of(client: Client) -> str:
    return client.node.id if client.node is not None else client.peer


def _host_and_port(text: str) -> tuple[str, int]:
    """Read ``HOST`` or ``HOST:PORT``; the port names the listener.

    Raises:
        BadRequestError: there is no host.
    """
    if not text:
        raise BadRequestError("host is missing: give the authority of the request")
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and not (text.startswith("[") and text.endswith("]")):
        return host, int(port)
    return text, 0


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequestError(f"header {text!r}: write NAME=VALUE")
    return name.lower(), value


def _seconds(text: str, longest: float) -> float:
    """Read a query parameter; ``longest`` when it is not given.

    Raises:
        BadRequestError: it is no number from 0 to ``longest``.
    """
    try:
        seconds = float(text or longest)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= longest:
        raise BadRequestError(f"seconds: {text!r} is not a number of 0 to {longest:g}")
    return seconds


def _limit(name: str, value: object) -> int | float:
    """Check one limit.

    Raises:
        ValueError: there is none of that name, or the value is not one for it.
    """
    if name not in LIVE_LIMITS:
        raise ValueError(f"{name}: is no limit that can be changed: {', '.join(LIVE_LIMITS)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ValueError(f"{name}: {value!r} is not a number of at least 0")
    return int(value) if LIVE_LIMITS[name] is int else float(value)


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
