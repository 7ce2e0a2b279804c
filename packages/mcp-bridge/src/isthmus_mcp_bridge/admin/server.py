"""The administration endpoint: plain HTTP, read-only, on loopback by default."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from isthmus_mcp_bridge.admin import views
from isthmus_mcp_bridge.backsync.build import Parts
from isthmus_mcp_bridge.catalog.difference import pending_change
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.mcp.service import McpSource
from isthmus_mcp_bridge.observe.metrics import CONTENT_TYPE, Metrics
from isthmus_mcp_bridge.publisher import Publisher

SHUTDOWN_TIMEOUT_S = 1.0
COMPARED_AT_ONCE = 20
"""Services compared before other tasks get their turn."""


class AdminServer:
    """``/ready``, ``/metrics``, ``/sources``, ``/services[?host=]``, ``/explain?host=``, ``/diff``, ``/collection``,
    ``/entry?name=``, ``/problems``, ``/sinks``, ``/dualmode[?host=]``, ``/leases`` and ``/backsync``.
    """

    def __init__(
        self,
        publisher: Publisher,
        source: McpSource,
        metrics: Metrics,
        dual_mode: Callable[[str], dict[str, Any]],
        parts: Parts | None = None,
    ) -> None:
        """``dual_mode`` makes the page of dual mode, for one host or all."""
        self._dual_mode_page = dual_mode
        self._publisher = publisher
        self._source = source
        self._metrics = metrics
        self._parts = parts or Parts()
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)

    async def start(self, host: str, port: int) -> int:
        """Listen. Returns the port, which matters when 0 was asked for. Raises BridgeError when it cannot."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            reason = error.strerror or error
            raise BridgeError(f"admin.address {host}:{port}: cannot listen ({reason}); choose another one") from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and close what is open, within ``SHUTDOWN_TIMEOUT_S``."""
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/ready", self._ready),
                web.get("/metrics", self._render_metrics),
                web.get("/sources", self._sources),
                web.get("/services", self._services),
                web.get("/explain", self._explain),
                web.get("/diff", self._diff),
                web.get("/collection", self._collection),
                web.get("/entry", self._entry),
                web.get("/problems", self._problems),
                web.get("/sinks", self._sinks),
                web.get("/dualmode", self._dual_mode),
                web.get("/leases", self._leases),
                web.get("/backsync", self._backsync),
            ]
        )
        return application

    async def _ready(self, _: web.Request) -> web.Response:
        """200 once services are served."""
        if self._publisher.ready:
            return web.Response(text="LIVE\n")
        waiting = ", ".join(self._publisher.waiting_for())
        return web.Response(status=503, text=f"waiting for {waiting or 'the first snapshot'}\n")

    async def _render_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render().encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _sources(self, _: web.Request) -> web.Response:
        return _json({"sources": views.sources(self._publisher.catalog, self._publisher.now())})

    async def _services(self, request: web.Request) -> web.Response:
        return _json(views.services(self._publisher.catalog, request.query.get("host", "")))

    async def _explain(self, request: web.Request) -> web.Response:
        host = request.query.get("host", "")
        found = views.explanations(self._publisher.catalog, host, self._publisher.now())
        return _json(found) if found["total"] else web.Response(status=404, text=f"no registry claims {host!r}\n")

    async def _diff(self, _: web.Request) -> web.Response:
        """What the registries say now against what is published: what holds, dampings and doubts make the difference."""
        found: list[dict[str, Any]] = []
        catalog, now = self._publisher.catalog, self._publisher.now()
        for number, key in enumerate(list(catalog.services)):
            change = pending_change(catalog, key, now)
            if change is not None and len(found) < views.MAX_LISTED:
                found.append(change)
            if number % COMPARED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return _json({"total": len(found), "changes": found})

    async def _collection(self, _: web.Request) -> web.Response:
        return _json(views.collection(self._source.snapshot))

    async def _entry(self, request: web.Request) -> web.Response:
        name = request.query.get("name", "")
        found = views.entry(self._source.snapshot, name)
        return web.Response(status=404, text=f"{name!r} is not served\n") if found is None else _json(found)

    async def _problems(self, _: web.Request) -> web.Response:
        return _json(views.problems(self._publisher.catalog, self._publisher.publication))

    async def _sinks(self, _: web.Request) -> web.Response:
        return _json({"sinks": views.sinks(self._source.streams)})

    async def _dual_mode(self, request: web.Request) -> web.Response:
        return _json(self._dual_mode_page(request.query.get("host", "")))

    async def _leases(self, _: web.Request) -> web.Response:
        registrations = self._parts.registrations
        if registrations is None:
            return web.Response(
                status=404, text="nothing is registered here: there is no registration in the configuration\n"
            )
        return _json(registrations.status())

    async def _backsync(self, _: web.Request) -> web.Response:
        found = self._parts.status()
        if found is None:
            return web.Response(status=404, text="nothing is written: there is no backsync in the configuration\n")
        return _json(found)


def _json(value: Any) -> web.Response:
    return web.json_response(value)
