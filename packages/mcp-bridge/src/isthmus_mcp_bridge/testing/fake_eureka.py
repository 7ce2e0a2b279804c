"""A Eureka in memory: full fetches and deltas with their hash, in Eureka's own JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiohttp import web

from isthmus_mcp_bridge.testing.http_server import HttpServer


class FakeEureka:
    """Applications with instances by id."""

    def __init__(self) -> None:
        self.server = HttpServer([web.get("/eureka/apps", self._full), web.get("/eureka/apps/delta", self._delta)])
        self.url = f"{self.server.url}/eureka"
        self.instances: dict[tuple[str, str], dict[str, Any]] = {}
        self.recent: list[tuple[str, dict[str, Any]]] = []
        self.fetches = Counter[str]()
        self.lies = False
        """Whether the hash of deltas is wrong, as real servers have it now and then."""

    def put(self, app: str, one: dict[str, Any]) -> None:
        """Register or change an instance."""
        key = (app, one["instanceId"])
        action = "MODIFIED" if key in self.instances else "ADDED"
        self.instances[key] = one
        self.recent.append((app, one | {"actionType": action}))

    def remove(self, app: str, instance_id: str) -> None:
        """Cancel an instance."""
        one = self.instances.pop((app, instance_id))
        self.recent.append((app, one | {"actionType": "DELETED"}))

    def instance(self, app: str, address: str, port: int, status: str = "UP") -> dict[str, Any]:
        """An instance as Eureka writes it."""
        return {
            "instanceId": f"{address}:{port}", "app": app, "ipAddr": address, "hostName": "h", "status": status,
            "port": {"$": port, "@enabled": "true"}, "securePort": {"$": 443, "@enabled": "false"},
            "metadata": {"@class": "java.util.Collections$EmptyMap"}, "leaseInfo": {"registrationTimestamp": 1000},
        }  # fmt: skip

    async def _full(self, _: web.Request) -> web.Response:
        self.fetches["full"] += 1
        return self._answer([(app, one | {"actionType": "ADDED"}) for (app, _), one in self.instances.items()])

    async def _delta(self, _: web.Request) -> web.Response:
        self.fetches["delta"] += 1
        return self._answer(self.recent)

    def _answer(self, listed: list[tuple[str, dict[str, Any]]]) -> web.Response:
        apps: dict[str, list[dict[str, Any]]] = {}
        for app, one in listed:
            apps.setdefault(app, []).append(one)
        found: list[dict[str, Any]] = [
            {"name": app, "instance": ones[0] if len(ones) == 1 else ones} for app, ones in apps.items()
        ]
        counts = Counter(one["status"] for one in self.instances.values())
        digest = "".join(f"{status}_{counts[status]}_" for status in sorted(counts))
        application: Any = found[0] if len(found) == 1 else found
        body = {
            "versions__delta": "1",
            "apps__hashcode": digest + ("X" if self.lies else ""),
            "application": application,
        }
        return web.json_response({"applications": body})
