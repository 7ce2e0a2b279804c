"""An HTTP server on loopback that can be stopped and started again on the same port; what it serves stays."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from aiohttp import web


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class HttpServer:
    """Serves the given routes while it is started."""

    def __init__(self, routes: Iterable[web.RouteDef]) -> None:
        self._routes = list(routes)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, if it does not."""
        if self._runner is None:
            application = web.Application()
            application.add_routes(self._routes)
            self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.05)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Stop listening and end every request."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
