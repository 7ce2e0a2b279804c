"""The ZooKeeper client on kazoo. kazoo calls back from threads of its own; everything goes through the HandOver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from isthmus_mcp_bridge.registries.zookeeper.client import Children, ZooKeeperFault
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver

OPERATION_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
CREATION_RACES = 5
"""How often a node may appear between two looks before the read counts as failed."""


class KazooZooKeeper:
    """Reads and watches through one kazoo session, which kazoo re-establishes by itself for ever."""

    def __init__(self, servers: str, session_timeout_s: float, handover: HandOver) -> None:
        """``servers`` is ``host:port,host:port``; ``session_timeout_s`` is asked of the server, which may shorten it."""
        self._handover = handover
        self._loop = asyncio.get_running_loop()
        self._kazoo = KazooClient(
            hosts=servers,
            timeout=session_timeout_s,
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, backoff=2, max_delay=5.0, max_jitter=0.4),
        )
        self._kazoo.add_listener(self._on_state)

    async def start(self) -> None:
        """Begin to connect; kazoo's own thread goes on trying until ``stop``."""
        self._kazoo.start_async()

    async def stop(self) -> None:
        """Close the session, so that the server need not wait for its timeout; gives up after ``STOP_TIMEOUT_S``."""
        with contextlib.suppress(TimeoutError, KazooException, KazooTimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._kazoo.stop()
        self._kazoo.close()

    async def children(self, path: str) -> Children | None:
        """Children of a node, with a watch; of a missing node None, with a watch for its creation."""
        for _ in range(CREATION_RACES):
            try:
                names, stat = await self._read(self._kazoo.get_children_async, path, include_data=True)
                return Children(tuple(names), stat.czxid, stat.ctime, stat.pzxid)
            except NoNodeError:
                if await self._read(self._kazoo.exists_async, path) is None:
                    return None
        raise ZooKeeperFault(f"{path} keeps appearing and vanishing")

    async def data(self, path: str) -> bytes | None:
        """Data of a node, with a watch; of a missing node None, with a watch for its creation."""
        for _ in range(CREATION_RACES):
            try:
                value, _ = await self._read(self._kazoo.get_async, path)
                return bytes(value)
            except NoNodeError:
                if await self._read(self._kazoo.exists_async, path) is None:
                    return None
        raise ZooKeeperFault(f"{path} keeps appearing and vanishing")

    async def _read(self, operation: Callable[..., Any], path: str, **options: Any) -> Any:
        """Run one of kazoo's asynchronous reads with a watch; raises NoNodeError or ZooKeeperFault."""
        done: asyncio.Future[Any] = self._loop.create_future()

        def finished(result: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(_settle, done, result)

        try:
            operation(path, watch=self._on_change, **options).rawlink(finished)
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                return await done
        except NoNodeError:
            raise
        except TimeoutError as error:
            raise ZooKeeperFault(f"no answer about {path} within {OPERATION_TIMEOUT_S:g} s") from error
        except (KazooException, KazooTimeoutError, OSError) as error:
            raise ZooKeeperFault(f"reading {path}: {type(error).__name__} {error}".rstrip()) from error

    def _on_change(self, event: Any) -> None:
        """kazoo's thread: a watch fired. Always the same bound method, so that kazoo keeps one watch a path."""
        if event.path:
            self._handover.path_changed(event.path)

    def _on_state(self, state: str) -> None:
        """kazoo's thread: the session came or went."""
        self._handover.connection_changed(state == KazooState.CONNECTED)


def _settle(done: asyncio.Future[Any], result: Any) -> None:
    if done.done():
        return
    if result.exception is not None:
        done.set_exception(result.exception)
    else:
        done.set_result(result.value)
