"""The far end of tunnels: ``python -m soak.echo PORT`` agrees to an upgrade, if it is asked, and sends back what comes."""

from __future__ import annotations

import asyncio
import contextlib
import sys

_AGREED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        first = await reader.read(4)
        if first == b"GET ":
            await reader.readuntil(b"\r\n\r\n")
            first = _AGREED
        while first:
            writer.write(first)
            await writer.drain()
            first = await reader.read(1 << 16)
    writer.close()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
