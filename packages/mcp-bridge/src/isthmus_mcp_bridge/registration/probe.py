"""Whether somebody takes connections at an address."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from isthmus_mcp_bridge.dualmode.instance import Address

TIMEOUT_S = 1.0
AT_ONCE = 64


def tcp_probe(timeout_s: float = TIMEOUT_S, at_once: int = AT_ONCE) -> Callable[[Address], Awaitable[bool]]:
    """A probe that opens a connection and closes it; more than ``at_once`` wait for one another."""
    slots = asyncio.Semaphore(at_once)

    async def probe(address: Address) -> bool:
        async with slots:
            try:
                async with asyncio.timeout(timeout_s):
                    _, writer = await asyncio.open_connection(address.host, address.port)
            except (OSError, TimeoutError):
                return False
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await writer.wait_closed()
            return True

    return probe
