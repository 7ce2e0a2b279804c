"""Many endpoints in one process: ``python -m harness.herd PORT...`` answers on each port with the number of that port.

A request for ``/hold/...`` is answered when one for ``/release`` comes, so that tests decide how many are in flight.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from harness.ports import accepts, free_port
from harness.process import Process


class _Endpoint(asyncio.Protocol):
    held: ClassVar[list["_Endpoint"]] = []

    def __init__(self, port: int) -> None:
        self._port = port
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if b"/hold" in head.partition(b"\r\n")[0]:
                self.held.append(self)
                continue
            if b"/release" in head.partition(b"\r\n")[0]:
                for each in self.held:
                    each.answer()
                self.held.clear()
            self.answer()

    def answer(self) -> None:
        body = b"%d" % self._port
        self._transport.write(b"HTTP/1.1 200 OK\r\nx-upstream: 1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def _serve(ports: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda port=port: _Endpoint(port), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.Event().wait()


class Herd:
    """``size`` endpoints; ``ports`` are in a row, so that a test names them by their index."""

    def __init__(self, size: int) -> None:
        self.ports = [free_port() for _ in range(size)]
        argv = [sys.executable, "-m", "harness.herd", *map(str, self.ports)]
        self.process = Process("herd", argv, cwd=Path(__file__).parent.parent)
        self.process.wait_until(lambda: all(accepts("127.0.0.1", port) for port in self.ports), what="listening")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()


if __name__ == "__main__":
    asyncio.run(_serve([int(port) for port in sys.argv[1:]]))
