"""A whole control plane inside a test, on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from isthmus_controlplane.app import App
from isthmus_controlplane.config import HostPort, Settings
from isthmus_controlplane.xds.testing import eventually

ANY_PORT = HostPort("127.0.0.1", 0)


@contextlib.asynccontextmanager
async def running(
    store: str, directory: Path, *, mcp: tuple[str, ...] = (), sync_deadline: float = 60.0
) -> AsyncIterator[dict[str, str]]:
    """Run a control plane for the length of the block; gives its bound addresses, ``grpc`` and ``admin``."""
    address_path = directory / "addresses.json"
    settings = Settings(
        store=store,
        mcp=mcp,
        grpc=ANY_PORT,
        admin=ANY_PORT,
        sync_deadline=sync_deadline,
        address_path=str(address_path),
    )
    task = asyncio.create_task(App(settings).run())
    try:
        await eventually(lambda: task.done() or address_path.exists())
        if task.done():
            task.result()
        yield json.loads(address_path.read_text())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        address_path.unlink(missing_ok=True)


async def eventually_answers(check: Callable[[], Awaitable[bool]], patience: float = 20.0) -> None:
    """Wait until an asynchronous ``check`` holds; fails after ``patience`` seconds."""
    async with asyncio.timeout(patience):
        while not await check():  # noqa: ASYNC110 - what is waited for is in another connection
            await asyncio.sleep(0.01)
