"""ZooKeeper as a registry that can be written: ephemeral nodes, and transactions that check what they delete."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from isthmus_mcp_bridge.backsync.store import Conflict, Notices, Owner
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver

OPERATION_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
_CONFLICTS = (BadVersionError, NodeExistsError, NoNodeError)
_FOLLOW_UPS = (RolledBackError, RuntimeInconsistency)
"""What the operations of a failed transaction say that are not at fault themselves."""


class ZooKeeperStore:
    """One kazoo session, which kazoo re-establishes by itself for ever. Make it in the loop that uses it."""

    def __init__(self, servers: str, session_timeout_s: float) -> None:
        """``servers`` is ``host:port,host:port``; ``session_timeout_s`` is asked of the server, which may shorten it."""
        self._handover = HandOver()
        self._loop = asyncio.get_running_loop()
        self._kazoo = KazooClient(
            hosts=servers,
            timeout=session_timeout_s,
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, backoff=2, max_delay=2.0, max_jitter=0.4),
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

    async def wait(self, timeout_s: float) -> Notices:
        """What happened, as EntryStore says."""
        notices = await self._handover.wait(timeout_s)
        folders = frozenset(notices.paths)
        return Notices(notices.connected, self._session(), folders, notices.interrupted or notices.overflowed)

    def _session(self) -> int:
        client_id = self._kazoo.client_id
        return 0 if client_id is None else int(client_id[0])

    async def read(self, folder: str) -> frozenset[str]:
        """The children of a node, with a watch; of a missing one none, with a watch for its creation."""
        for _ in range(3):
            try:
                return frozenset(await self._run(self._kazoo.get_children_async(folder, watch=self._on_change)))
            except NoNodeError:
                if await self._run(self._kazoo.exists_async(folder, watch=self._on_change)) is None:
                    return frozenset()
        raise RegistryFault(f"{folder} keeps appearing and vanishing")

    async def owners(self, folder: str, names: Collection[str]) -> Mapping[str, Owner]:
        """Whose these nodes are, by their ephemeral owner."""
        session = self._session()
        stats = await asyncio.gather(*(self._run(self._kazoo.exists_async(f"{folder}/{name}")) for name in names))
        return {
            name: Owner(stat.ephemeralOwner == session, stat.version)
            for name, stat in zip(names, stats, strict=True)
            if stat is not None
        }

    async def commit(self, folder: str, create: str, delete: Sequence[tuple[str, int]], data: bytes) -> None:
        """One ``multi``: versions are checked, then the new node is created, then the old ones are deleted.

        Servers from 3.6 on may let a reader see a transaction half done, so the new node comes first where names differ.
        """
        transaction = self._kazoo.transaction()
        for name, version in delete:
            transaction.check(f"{folder}/{name}", version)
        again = [one for one in delete if one[0] == create]
        for name, version in again:
            transaction.delete(f"{folder}/{name}", version)
        if create:
            transaction.create(f"{folder}/{create}", data, ephemeral=True)
        for name, version in delete:
            if name != create:
                transaction.delete(f"{folder}/{name}", version)
        results = await self._run(transaction.commit_async())
        errors = [one for one in results if isinstance(one, Exception)]
        cause = next((one for one in errors if not isinstance(one, _FOLLOW_UPS)), errors[0] if errors else None)
        if isinstance(cause, NoNodeError) and create and not delete:
            await self._run(self._kazoo.ensure_path_async(folder))
            raise Conflict(f"{folder} was missing; it has been made") from cause
        if isinstance(cause, _CONFLICTS):
            raise Conflict(f"{folder}: {type(cause).__name__}") from cause
        if cause is not None:
            raise RegistryFault(f"writing {folder}: {type(cause).__name__} {cause}".rstrip()) from cause

    async def lead(self, lock: str) -> int | None:
        """An ephemeral node; its epoch is the transaction that created it."""
        for _ in range(3):
            stat = await self._run(self._kazoo.exists_async(lock, watch=self._on_change))
            if stat is not None:
                return int(stat.czxid) if stat.ephemeralOwner == self._session() else None
            with contextlib.suppress(NodeExistsError):
                await self._run(self._kazoo.create_async(lock, b"", ephemeral=True, makepath=True))
        raise RegistryFault(f"{lock} keeps appearing and vanishing")

    async def _run(self, result: Any) -> Any:
        """Wait for one of kazoo's asynchronous results; NoNode and NodeExists come as they are."""
        done: asyncio.Future[Any] = self._loop.create_future()

        def finished(one: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(_settle, done, one)

        try:
            result.rawlink(finished)
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                return await done
        except (NoNodeError, NodeExistsError):
            raise
        except TimeoutError as error:
            raise RegistryFault(f"no answer within {OPERATION_TIMEOUT_S:g} s") from error
        except (KazooException, KazooTimeoutError, OSError) as error:
            raise RegistryFault(f"{type(error).__name__} {error}".rstrip()) from error

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
