"""A WebSocket service by other people's code (aiohttp), in a thread of its own: it checks every frame that comes through."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web

MESSAGE_LIMIT = 4 << 20


class WebSocketOrigin:
    """``/echo`` sends back, ``/greeting`` speaks first, ``/bye`` closes, ``/abort`` breaks off, ``/refuse`` is 403, ``/plain`` 200."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="websocket origin", daemon=True)

    def __enter__(self) -> Self:
        logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # refusing is what it is here for
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        for path in ("/echo", "/greeting", "/bye", "/abort"):
            app.router.add_get(path, self._speak)
        app.router.add_get("/refuse", _refuse)
        app.router.add_get("/plain", _plain)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._listening.set()
        return runner

    async def _speak(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("chat",), max_msg_size=MESSAGE_LIMIT)
        await socket.prepare(request)
        self.open += 1
        try:
            await _converse(socket, request)
        finally:
            self.open -= 1
        return socket


async def _converse(socket: web.WebSocketResponse, request: web.Request) -> None:
    if request.path == "/greeting":
        await socket.send_str("welcome")
    elif request.path == "/bye":
        await socket.close(code=4001, message=b"bye")
        return
    elif request.path == "/abort" and request.transport is not None:
        request.transport.abort()
        return
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


async def _refuse(_: web.Request) -> web.Response:
    return web.Response(status=403, text="not you")


async def _plain(_: web.Request) -> web.Response:
    return web.Response(text="no socket here")
