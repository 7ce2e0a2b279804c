"""An HTTP/1.1 upstream in a mood: ``python -m harness.moody PORT``. A request for ``/mood/NAME`` changes it, on any connection.

Moods: ``good``, a status (``503``), ``hang`` (say nothing), ``late:MS`` (answer after that time), ``close`` and ``reset`` (end the
connection in place of an answer), ``garbage``, ``torn`` (half a head), ``accept-reset`` (reset new connections; old ones too).
"""

import asyncio
import contextlib
import signal
import socket
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.http import fetch
from harness.origin import REASONS, Body, Request, parse_head
from harness.ports import accepts, free_port
from harness.process import Process

_RESET = struct.pack("ii", 1, 0)
_RAW = {"garbage": b"\x16\x03garbage\r\n\r\n", "torn": b"HTTP/1.1 200 OK\r\nconte"}


class _Server:
    def __init__(self, port: int) -> None:
        self.name = str(port)
        self.mood = "good"


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._request: Request | None = None
        self._body: Body | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next()) is not None:
            self._serve(request)

    def _next(self) -> Request | None:
        if self._request is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._request = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._body = Body(self._request)
        assert self._body is not None
        if not self._body.feed(self._buffer):
            return None
        request, self._request = self._request, None
        return request

    def _serve(self, request: Request) -> None:
        server = self._server
        if request.target.startswith("/mood/"):
            server.mood = request.target.removeprefix("/mood/")
            self._answer(200)
            return
        kind, _, argument = server.mood.partition(":")
        if kind == "good":
            self._answer(200)
        elif kind.isdigit():
            self._answer(int(kind))
        elif kind == "late":
            asyncio.get_running_loop().call_later(int(argument) / 1000, self._answer, 200)
        elif kind in ("reset", "accept-reset"):
            self._reset()
        elif kind in _RAW:
            self._transport.write(_RAW[kind])
            self._transport.close()
        elif kind == "close":
            self._transport.close()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _answer(self, status: int) -> None:
        if self._transport.is_closing():
            return
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nx-version: v1\r\nx-instance: {self._server.name}\r\n"
        self._transport.write(head.encode() + b"content-length: 3\r\n\r\nok\n")


async def _serve(port: int) -> None:
    server = _Server(port)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(lambda: _Connection(server), "127.0.0.1", port, backlog=1024)
    await stop.wait()


class Moody:
    """A running one. It can die, freeze and come back, on the same port."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.name = str(self.port)
        self.process = self._start()

    def _start(self) -> Process:
        argv = [sys.executable, "-m", "harness.moody", self.name]
        process = Process(f"upstream {self.name}", argv, cwd=Path(__file__).parent.parent)
        process.wait_until(lambda: accepts("127.0.0.1", self.port), what="listening")
        return process

    def mood(self, name: str) -> None:
        """Change the mood from the next request on."""
        assert fetch(f"127.0.0.1:{self.port}", f"/mood/{name}").status == 200

    def die(self) -> None:
        """SIGKILL: the kernel resets its connections and refuses new ones."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP: the kernel accepts connections and bytes, and nobody reads."""
        self.process.send_signal(signal.SIGSTOP)

    def recover(self) -> None:
        """Be good again, whatever it was."""
        if not self.process.running:
            self.process = self._start()
        self.process.send_signal(signal.SIGCONT)
        self.mood("good")

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
