"""A registry in memory that can be written: sessions that are lost, expire, are partitioned; watches that fire once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Mapping, Sequence

from isthmus_mcp_bridge.backsync.store import Conflict, Notices, Owner
from isthmus_mcp_bridge.registries.faults import RegistryFault


@dataclasses.dataclass(slots=True)
class _Node:
    session: int
    created: int


class MemoryServer:
    """The folders with their names, and the sessions. ``history`` holds every state of every folder, in order."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, _Node]] = {}
        self.locks: dict[str, _Node] = {}
        self.history: list[tuple[str, frozenset[str]]] = []
        self.clients: list[MemoryStore] = []
        self._transactions = 0
        self._sessions = 0

    def open_session(self) -> int:
        """A new session."""
        self._sessions += 1
        return self._sessions

    def end_session(self, session: int) -> None:
        """Everything of the session goes."""
        for folder, nodes in self.folders.items():
            for name in [name for name, node in nodes.items() if node.session == session]:
                del nodes[name]
                self._note(folder)
        for lock in [lock for lock, node in self.locks.items() if node.session == session]:
            del self.locks[lock]
            self._fire(lock)

    def put(self, folder: str, name: str) -> None:
        """An entry of somebody else, which outlives sessions."""
        self.folders.setdefault(folder, {})[name] = _Node(0, self._next())
        self._note(folder)

    def remove(self, folder: str, name: str) -> None:
        """Somebody removes an entry."""
        self.folders.get(folder, {}).pop(name, None)
        self._note(folder)

    def names(self, folder: str) -> frozenset[str]:
        """What stands in a folder."""
        return frozenset(self.folders.get(folder, {}))

    def owner(self, folder: str, name: str) -> int | None:
        """The session of a name."""
        node = self.folders.get(folder, {}).get(name)
        return None if node is None else node.session

    def commit(self, session: int, folder: str, create: str, delete: Sequence[str]) -> None:
        """One transaction; raises Conflict."""
        nodes = self.folders.setdefault(folder, {})
        if any(name not in nodes for name in delete) or (create in nodes and create not in delete):
            raise Conflict(f"{folder} has changed")
        for name in delete:
            del nodes[name]
        if create:
            nodes[create] = _Node(session, self._next())
        self._note(folder)

    def lead(self, session: int, lock: str) -> int | None:
        """Take a lock if it is free."""
        node = self.locks.get(lock)
        if node is None:
            node = self.locks[lock] = _Node(session, self._next())
            self._fire(lock)
        return node.created if node.session == session else None

    def _next(self) -> int:
        self._transactions += 1
        return self._transactions

    def _note(self, folder: str) -> None:
        self.history.append((folder, self.names(folder)))
        self._fire(folder)

    def _fire(self, folder: str) -> None:
        for client in self.clients:
            client.fire(folder)


class MemoryStore:
    """A client of a MemoryServer, an EntryStore."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._session = 0
        self._reachable = True
        self._watched: set[str] = set()
        self._folders: set[str] = set()
        self._interrupted = False
        self._news = asyncio.Event()
        server.clients.append(self)

    @property
    def session(self) -> int:
        """The session's number; 0 before there is one."""
        return self._session

    async def start(self) -> None:
        """Open a session."""
        if self._reachable:
            self._session = self._server.open_session()
        self._news.set()

    async def stop(self) -> None:
        """End the session."""
        self._server.end_session(self._session)

    def partition(self) -> None:
        """The server cannot be reached; the session lives on until it expires."""
        self._reachable = False
        self._interrupted = True
        self._watched.clear()
        self._news.set()

    def expire(self) -> None:
        """The session expires."""
        self._server.end_session(self._session)
        self._session = self._server.open_session() if self._reachable else 0
        self._interrupted = True
        self._watched.clear()
        self._news.set()

    def heal(self) -> None:
        """The server can be reached again."""
        self._reachable = True
        self._session = self._session or self._server.open_session()
        self._news.set()

    def fire(self, folder: str) -> None:
        """The folder changed."""
        if folder in self._watched and self._reachable:
            self._watched.discard(folder)
            self._folders.add(folder)
            self._news.set()

    async def wait(self, timeout_s: float) -> Notices:
        """As EntryStore says."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()
        notices = Notices(
            self._reachable and bool(self._session), self._session, frozenset(self._folders), self._interrupted
        )
        self._folders.clear()
        self._interrupted = False
        return notices

    async def read(self, folder: str) -> frozenset[str]:
        """As EntryStore says."""
        await self._reach()
        self._watched.add(folder)
        return self._server.names(folder)

    async def owners(self, folder: str, names: Collection[str]) -> Mapping[str, Owner]:
        """As EntryStore says."""
        await self._reach()
        found = ((name, self._server.owner(folder, name)) for name in names)
        return {name: Owner(owner == self._session) for name, owner in found if owner is not None}

    async def commit(self, folder: str, create: str, delete: Sequence[tuple[str, int]], data: bytes) -> None:
        """As EntryStore says."""
        await self._reach()
        self._server.commit(self._session, folder, create, [name for name, _ in delete])

    async def lead(self, lock: str) -> int | None:
        """As EntryStore says."""
        await self._reach()
        self._watched.add(lock)
        return self._server.lead(self._session, lock)

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if not self._reachable or not self._session:
            raise RegistryFault("connection lost")
