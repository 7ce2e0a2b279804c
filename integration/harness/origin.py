"""A small, fast HTTP/1.1 service that says who it is. Run ``python -m harness.origin --name reviews --version v1``.

Paths: ``/delay/MS`` waits, ``/status/N`` answers N, ``/echo`` describes the request as received, ``/bytes/N`` streams N bytes
(``?chunked`` without a length); anything else answers who and which version served it. Every answer carries ``x-service``,
``x-version`` and ``x-instance``.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import Process

HEAD_LIMIT = 64 << 10
PIECE = 64 << 10  # size of one write of /bytes
REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    name: str
    version: str
    instance: str

    def head(self) -> bytes:
        """The headers that every answer carries."""
        return f"server: origin\r\nx-service: {self.name}\r\nx-version: {self.version}\r\nx-instance: {self.instance}\r\n".encode()

    def body(self, path: str) -> bytes:
        """The usual answer."""
        fields = {"service": self.name, "version": self.version, "instance": self.instance, "path": path}
        return json.dumps(fields).encode() + b"\n"


@dataclass(slots=True)
class Request:
    """One request whose body has been read (and counted, not kept)."""

    head: bytes
    method: str
    target: str
    headers: list[tuple[str, str]]
    body_bytes: int = 0

    def header(self, name: str) -> str:
        """The first header of that name, empty when there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def keep_alive(self) -> bool:
        return "close" not in self.header("connection").lower()


def parse_head(head: bytes) -> Request:
    """A request from its head (without the empty line); raises ValueError when it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise ValueError(f"unknown version {version}")
    headers = [(key, value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    return Request(head, method, target, headers)


class Body:
    """Reads one request body, by length or chunked, and counts its bytes."""

    def __init__(self, request: Request) -> None:
        self._chunked = "chunked" in request.header("transfer-encoding").lower()
        self._left = 0 if self._chunked else int(request.header("content-length") or 0)
        self._trailer = False
        self.size = 0

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the body from the front of ``buffer``; return whether the body is complete."""
        if not self._chunked:
            self._take(buffer)
            return self._left == 0
        while True:
            if self._left:
                self._take(buffer)
                if self._left:
                    return False
            line, found, _ = buffer.partition(b"\r\n")
            if not found:
                return False
            del buffer[: len(line) + 2]
            if self._trailer:
                if not line:
                    return True
            elif line:
                self._left = int(line.split(b";")[0], 16)
                self._trailer = self._left == 0

    def _take(self, buffer: bytearray) -> None:
        taken = min(self._left, len(buffer))
        del buffer[:taken]
        self._left -= taken
        self.size += taken


class Connection(asyncio.Protocol):
    """One downstream connection; requests are answered strictly in order."""

    def __init__(self, identity: Identity, open_connections: "set[Connection]") -> None:
        self._identity_head = identity.head()
        self._identity = identity
        self._open = open_connections
        self._buffer = bytearray()
        self._request: Request | None = None
        self._body: Body | None = None
        self._busy = False
        self._pieces: deque[bytes] = deque()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._serve()

    def close_when_idle(self) -> None:
        """Close now when nothing is in progress."""
        if not self._busy and self._request is None:
            self.transport.close()

    def _serve(self) -> None:
        """Answer every complete request that is buffered."""
        while not self._busy and not self.transport.is_closing():
            try:
                request = self._next_request()
            except ValueError:
                self._answer(400, b"bad request\n", close=True)
                return
            if request is None:
                return
            self._dispatch(request)

    def _next_request(self) -> Request | None:
        if self._request is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_LIMIT:
                    raise ValueError("head too long")
                return None
            self._request = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._body = Body(self._request)
            if self._request.header("expect").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert self._body is not None
        if not self._body.feed(self._buffer):
            return None
        request, self._request = self._request, None
        request.body_bytes = self._body.size
        return request

    def _dispatch(self, request: Request) -> None:
        path, _, query = request.target.partition("?")
        kind, _, argument = path[1:].partition("/")
        close = not request.keep_alive
        if kind == "delay" and argument.isdigit():
            self._busy = True
            asyncio.get_running_loop().call_later(int(argument) / 1000, self._answer_late, request)
        elif kind == "status" and argument.isdigit():
            self._answer(int(argument), self._identity.body(request.target), close=close)
        elif kind == "bytes" and argument.isdigit():
            self._busy = True
            self._task = asyncio.get_running_loop().create_task(
                self._stream(int(argument), "chunked" in query, close=close)
            )
        elif kind == "echo":
            self._answer(200, describe(request), close=close)
        elif request.method == "HEAD":
            self._answer(200, b"", close=close)
        else:
            self._answer(200, self._identity.body(request.target), close=close)

    def _answer_late(self, request: Request) -> None:
        self._busy = False
        if not self.transport.is_closing():
            self._answer(200, self._identity.body(request.target), close=not request.keep_alive)
            self._serve()

    def _answer(self, status: int, body: bytes, *, close: bool) -> None:
        length = (
            b"" if status in {204, 304} else b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        )
        self.transport.write(self._head(status, length, close=close) + (body if length else b""))
        if close:
            self.transport.close()

    def _head(self, status: int, framing: bytes, *, close: bool) -> bytes:
        reason = REASONS.get(status, "Status").encode()
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        return b"HTTP/1.1 %d %s\r\n" % (status, reason) + self._identity_head + framing + end

    async def _stream(self, size: int, chunked: bool, *, close: bool) -> None:
        framing = b"transfer-encoding: chunked\r\n" if chunked else b"content-length: %d\r\n" % size
        self.transport.write(self._head(200, framing, close=close))
        for start in range(0, size, PIECE):
            await self._writable.wait()
            piece = b"x" * min(PIECE, size - start)
            self.transport.write(b"%x\r\n" % len(piece) + piece + b"\r\n" if chunked else piece)
        if chunked:
            self.transport.write(b"0\r\n\r\n")
        self._busy = False
        if close:
            self.transport.close()
        else:
            self._serve()


def describe(request: Request) -> bytes:
    """The ``/echo`` answer: the request head as it arrived."""
    fields = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "head": request.head.decode("latin-1"),
        "body_bytes": request.body_bytes,
    }
    return json.dumps(fields).encode()


async def serve(identity: Identity, host: str, port: int, address_path: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is in progress, for five seconds at most."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(identity, connections), host, port, backlog=1024)
    bound = server.sockets[0].getsockname()
    if address_path is not None:
        scratch = address_path.with_suffix(".new")
        scratch.write_text(f"{bound[0]}:{bound[1]}")
        scratch.rename(address_path)
    await stop.wait()
    server.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while connections:
                for connection in list(connections):
                    connection.close_when_idle()
                await asyncio.sleep(0.02)


class Origin:
    """A running origin."""

    def __init__(self, name: str, version: str, directory: Path, *, port: int = 0, instance: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.label = instance or f"{name}-{version}"
        self._address_path = directory / f"{self.label}.origin"
        self._address_path.unlink(missing_ok=True)
        identity = ["--name", name, "--version", version, "--instance", self.label]
        argv = [
            sys.executable,
            "-m",
            "harness.origin",
            *identity,
            "--port",
            str(port),
            "--address-path",
            str(self._address_path),
        ]
        path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
        self.process = Process(f"origin {self.label}", argv, log=directory / f"{self.label}.origin.log", env=path)
        try:
            self.process.wait_until(self._address_path.is_file, what="listening")
        except BaseException:
            self.process.stop()
            raise
        self.address = self._address_path.read_text()
        self.port = int(self.address.rpartition(":")[2])

    def stop(self) -> int:
        """Stop it; return the exit status."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A small HTTP/1.1 service that says who it is.")
    parser.add_argument("--name", default="origin")
    parser.add_argument("--version", default="v1")
    parser.add_argument("--instance", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address-path", type=Path, help="write host:port there once it listens")
    options = parser.parse_args()
    identity = Identity(options.name, options.version, options.instance or f"{options.name}-{options.version}")
    asyncio.run(serve(identity, options.host, options.port, options.address_path))


if __name__ == "__main__":
    main()
