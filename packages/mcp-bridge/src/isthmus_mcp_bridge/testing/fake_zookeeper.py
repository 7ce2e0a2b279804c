"""A ZooKeeper in memory with the semantics that matter to a watcher: one-shot watches, lost with the session."""

from __future__ import annotations

import asyncio

from isthmus_mcp_bridge.registries.zookeeper.client import Children, ZooKeeperFault
from isthmus_mcp_bridge.registries.zookeeper.handover import HandOver


class FakeZooKeeper:
    """The tree, and the clients that are connected to it."""

    def __init__(self) -> None:
        self._nodes: dict[str, int] = {"/": 0}
        self._data: dict[str, bytes] = {}
        self._zxid = 0
        self._clients: set[FakeClient] = set()
        self._reachable = True

    def client(self, handover: HandOver) -> FakeClient:
        """A client that reports to the hand-over; the ``connect`` of a ZooKeeperRegistry."""
        return FakeClient(self, handover)

    def create(self, path: str) -> None:
        """Create a node and its missing parents."""
        parent = path.rpartition("/")[0] or "/"
        if parent not in self._nodes:
            self.create(parent)
        if path not in self._nodes:
            self._zxid += 1
            self._nodes[path] = self._zxid
            self._fire(path, parent)

    def write(self, path: str, data: bytes) -> None:
        """Set a node's data; creates it if it is missing."""
        self.create(path)
        self._data[path] = data
        self._fire(path)

    def data(self, path: str) -> bytes | None:
        """A node's data."""
        if not self._reachable:
            raise ZooKeeperFault("connection lost")
        return self._data.get(path, b"") if path in self._nodes else None

    def delete(self, path: str) -> None:
        """Delete a node and everything below it."""
        for child in [other for other in self._nodes if other.startswith(f"{path}/")]:
            self._nodes.pop(child)
            self._data.pop(child, None)
            self._fire(child, child.rpartition("/")[0])
        if self._nodes.pop(path, None) is not None:
            self._fire(path, path.rpartition("/")[0] or "/")

    def expire_sessions(self) -> None:
        """Every session ends at once, with its watches, and a new one begins."""
        self.partition()
        self.heal()

    def partition(self) -> None:
        """No client reaches the server; sessions expire, watches are lost."""
        self._reachable = False
        for client in self._clients:
            client.lose_session()

    def forget_watches(self) -> None:
        """Every watch is lost without a word, as has happened to clients that reconnect."""
        for client in self._clients:
            client.forget_watches()

    def heal(self) -> None:
        """The server can be reached again; clients get new sessions."""
        self._reachable = True
        for client in self._clients:
            client.handover.connection_changed(connected=True)

    def connected(self, client: FakeClient) -> None:
        """The client begins to connect."""
        self._clients.add(client)
        if self._reachable:
            client.handover.connection_changed(connected=True)

    def disconnected(self, client: FakeClient) -> None:
        """The client is gone."""
        self._clients.discard(client)

    def names(self, path: str) -> Children | None:
        """The children of a node, in no particular order."""
        if not self._reachable:
            raise ZooKeeperFault("connection lost")
        if path not in self._nodes:
            return None
        prefix = path.rstrip("/") + "/"
        names = [node.removeprefix(prefix) for node in self._nodes if node.startswith(prefix) and node != path]
        own = self._nodes[path]
        return Children(tuple(name for name in reversed(names) if "/" not in name), own, own * 1000)

    def _fire(self, *paths: str) -> None:
        for client in self._clients:
            for path in paths:
                client.fire(path)


class FakeClient:
    """One session at a FakeZooKeeper."""

    def __init__(self, server: FakeZooKeeper, handover: HandOver) -> None:
        self._server = server
        self._watched: set[str] = set()
        self.handover = handover

    async def start(self) -> None:
        """Begin to connect."""
        self._server.connected(self)

    async def stop(self) -> None:
        """Close the session."""
        self._server.disconnected(self)

    async def children(self, path: str) -> Children | None:
        """Read and watch, as ZooKeeperClient says."""
        await asyncio.sleep(0)
        found = self._server.names(path)
        self._watched.add(path)
        return found

    async def data(self, path: str) -> bytes | None:
        """Read and watch, as ZooKeeperClient says."""
        await asyncio.sleep(0)
        found = self._server.data(path)
        self._watched.add(path)
        return found

    def fire(self, path: str) -> None:
        """The path changed: a watch on it fires once."""
        if path in self._watched:
            self._watched.discard(path)
            self.handover.path_changed(path)

    def forget_watches(self) -> None:
        """The watches are gone, the session is not."""
        self._watched.clear()

    def lose_session(self) -> None:
        """The session and its watches are gone."""
        self._watched.clear()
        self.handover.connection_changed(connected=False)
