"""A Consul in memory: the two endpoints that the bridge reads, with indexes and blocking queries."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import web

from isthmus_mcp_bridge.testing.http_server import HttpServer

NODE = {"Node": "node-1", "Address": "10.9.9.9", "Datacenter": "dc1"}


class FakeConsul:
    """Services by name, each a list of health entries."""

    def __init__(self) -> None:
        routes = [
            web.get("/v1/catalog/services", self._names),
            web.get("/v1/health/service/{name}", self._health),
        ]
        self.server = HttpServer(routes)
        self.services: dict[str, list[dict[str, Any]]] = {}
        self.index = 10
        self._indexes: dict[str, int] = {}
        self._names_index = 10
        self._changed = asyncio.Condition()

    async def put(self, name: str, entries: list[dict[str, Any]]) -> None:
        """Set a service's health entries; none removes it."""
        async with self._changed:
            self.index += 1
            if (name in self.services) != bool(entries):
                self._names_index = self.index
            self._indexes[name] = self.index
            self.services[name] = entries
            if not entries:
                del self.services[name]
            self._changed.notify_all()

    async def restore_backup(self) -> None:
        """Indexes start over, as after a restored snapshot."""
        async with self._changed:
            self.index = self._names_index = 1
            self._indexes = dict.fromkeys(self.services, 1)
            self._changed.notify_all()

    def entry(self, name: str, address: str, port: int, status: str = "passing", check: str = "c") -> dict[str, Any]:
        """A health entry with one check."""
        service = {
            "ID": f"{name}-{address}-{port}", "Service": name, "Address": address, "Port": port, "Tags": [], "Meta": {},
            "Weights": {"Passing": 1, "Warning": 1}, "CreateIndex": 5,
        }  # fmt: skip
        return {"Node": NODE, "Service": service, "Checks": [{"CheckID": check, "Status": status}]}

    async def _names(self, request: web.Request) -> web.Response:
        await self._block(request, lambda: self._names_index)
        found: dict[str, list[str]] = {name: [] for name in ["consul", *sorted(self.services)]}
        return web.json_response(found, headers={"X-Consul-Index": str(self._names_index)})

    async def _health(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._block(request, lambda: self._indexes.get(name, self.index))
        index = self._indexes.get(name, self.index)
        return web.json_response(self.services.get(name, []), headers={"X-Consul-Index": str(index)})

    async def _block(self, request: web.Request, index: Any) -> None:
        """Until the index differs from the one in the request; an index that went back differs, too."""
        asked = int(request.query.get("index", "0"))
        wait_s = float(request.query.get("wait", "300s").removesuffix("s"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._changed:
                while asked and index() == asked:
                    await self._changed.wait()
