"""What goes through the proxy during a soak beside steady load: clients that err, leave, dawdle and tunnel, and what they may expect."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from soak.configuration import HEADERS_TIMEOUT_S, Ports

PATIENCE_S = 20.0
PAUSE_S = 0.05
_RESET = struct.pack("ii", 1, 0)
_UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class SurpriseError(Exception):
    """The proxy did not answer as it must; the message says to what."""


class Traffic:
    """Runs in a thread of its own, from ``with`` to the end of its block. ``done`` counts by kind, ``surprises`` keeps a few."""

    def __init__(self, ports: Ports, seed: int = 1) -> None:
        self._ports = ports
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self.done: Counter[str] = Counter()
        self.surprises: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin nothing new, and wait for what runs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * PATIENCE_S)

    async def _run(self) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.status, self.no_route, self.nobody, self.silent, self.direct, self.never_twice, self.pipelined,
            self.malformed, self.too_large, self.slowloris, self.half_head, self.half_body, self.reset_in_body,
            self.left_alone, self.dawdler, self.gone_reader,
            self.websocket, self.tunnel, self.idle,
        ]  # fmt: skip
        await asyncio.gather(*(self._repeat(kind) for kind in kinds))

    async def _repeat(self, kind: Callable[[], Awaitable[None]]) -> None:
        name = kind.__name__
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await kind()
            except (SurpriseError, OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                if len(self.surprises) < 100:
                    self.surprises.append(f"{name}: {type(error).__name__}: {error}")
            self.done[name] += 1
            await asyncio.sleep(PAUSE_S * (0.5 + self._random.random()))

    async def _open(self, port: int | None = None) -> Streams:
        return await asyncio.open_connection("127.0.0.1", port or self._ports.http)

    async def _ask(self, path: str, want: int, headers: bytes = b"") -> None:
        reader, writer = await self._open()
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n".encode() + headers + b"\r\n")
        expect(path, await answer(reader), want)
        await hang_up(writer)

    # ---- requests that come to an end ----

    async def status(self) -> None:
        code = self._random.choice([200, 204, 404, 500, 503])
        await self._ask(f"/status/{code}", code)

    async def no_route(self) -> None:
        await self._ask("/nowhere", 404)

    async def nobody(self) -> None:
        await self._ask("/nobody", 503)

    async def silent(self) -> None:
        await self._ask("/silent", 504)

    async def direct(self) -> None:
        await self._ask("/direct", 200)

    async def never_twice(self) -> None:
        """Heads that no memo has seen."""
        for _ in range(20):
            mark = self._random.getrandbits(64)
            await self._ask(f"/status/200?q={mark:x}", 200, b"x-mark: %x\r\n" % mark * self._random.randrange(1, 8))

    async def pipelined(self) -> None:
        reader, writer = await self._open()
        writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\nGET /status/404 HTTP/1.1\r\nhost: a\r\n\r\n" * 5)
        for _ in range(5):
            expect("pipelined", await answer(reader), 200)
            expect("pipelined", await answer(reader), 404)
        await hang_up(writer)

    # ---- requests that are wrong ----

    async def malformed(self) -> None:
        reader, writer = await self._open()
        head = self._random.choice(
            [b"GET  / HTTP/1.1", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\nhost: a\r\nbad name: b"]
        )
        writer.write(head + b"\r\n\r\n")
        expect("malformed", await answer(reader), 400)
        await hang_up(writer)

    async def too_large(self) -> None:
        reader, writer = await self._open()
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70000 + b"\r\n\r\n")
        expect("too large", await answer(reader), 431)
        await hang_up(writer)

    async def slowloris(self) -> None:
        reader, writer = await self._open()
        for byte in b"GET / HTTP":
            writer.write(bytes([byte]))
            await asyncio.sleep(HEADERS_TIMEOUT_S / 20)
        expect("slowloris", await answer(reader), 408)
        await hang_up(writer)

    # ---- clients that leave ----

    async def half_head(self) -> None:
        _, writer = await self._open()
        writer.write(b"GET /good HTTP/1.1\r\nho")
        await hang_up(writer)

    async def half_body(self) -> None:
        _, writer = await self._open()
        writer.write(b"POST /good HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 50000)
        await writer.drain()
        await hang_up(writer)

    async def reset_in_body(self) -> None:
        _, writer = await self._open()
        writer.write(b"POST /status/200 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc")
        await writer.drain()
        reset(writer)

    async def left_alone(self) -> None:
        _, writer = await self._open()
        writer.write(b"GET /delay/300 HTTP/1.1\r\nhost: a\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        reset(writer)

    async def gone_reader(self) -> None:
        reader, writer = await self._open()
        writer.write(b"GET /bytes/20000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readexactly(1000)
        reset(writer)

    async def dawdler(self) -> None:
        """Reads far slower than its upstream writes, to the end."""
        reader, writer = await self._open()
        writer.write(b"GET /bytes/3000000?chunked HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        size = 0
        while piece := await reader.read(100_000):
            size += len(piece)
            await asyncio.sleep(0.005)
        if size < 3_000_000:
            raise SurpriseError(f"only {size} bytes came")
        await hang_up(writer)

    async def idle(self) -> None:
        _, writer = await self._open()
        await asyncio.sleep(0.5)
        await hang_up(writer)

    # ---- tunnels ----

    async def websocket(self) -> None:
        reader, writer = await self._open()
        writer.write(b"GET /upgrade HTTP/1.1\r\nhost: a\r\n" + _UPGRADE + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise SurpriseError(head[:40].decode("latin-1"))
        await self._echoed(reader, writer)

    async def tunnel(self) -> None:
        await self._echoed(*await self._open(self._ports.tcp))

    async def _echoed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (1, 1000, 100_000):
            sent = self._random.randbytes(size)
            writer.write(sent)
            if await reader.readexactly(size) != sent:
                raise SurpriseError(f"{size} bytes came back changed")
        reset(writer) if self._random.random() < 0.5 else await hang_up(writer)


async def answer(reader: asyncio.StreamReader) -> int:
    """Read one answer with a length to its end; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"content-length: ")
    if found:
        await reader.readexactly(int(rest.partition(b"\r")[0]))
    return int(head[9:12])


def expect(what: str, status: int, want: int) -> None:
    if status != want:
        raise SurpriseError(f"{what} was answered {status}, not {want}")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
