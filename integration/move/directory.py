"""What one consumer with an SDK knows: the addresses that ZooKeeper shows it, by Dubbo's rules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from kazoo.client import KazooClient

from harness.sdk_consumer import callable_addresses
from move.applications import SESSION_S, expire

FOLDERS = ("providers", "configurators")


class Directory:
    """Follows an interface with a session of its own; keeps what it knows while ZooKeeper is away."""

    def __init__(self, zookeeper: str, interface: str) -> None:
        self.addresses: tuple[str, ...] = ()
        self._hosts = zookeeper
        self._children: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
        self._client = KazooClient(hosts=zookeeper, timeout=SESSION_S)
        self._client.start(timeout=30)
        for folder in FOLDERS:
            path = f"/dubbo/{interface}/{folder}"
            self._client.ensure_path(path)
            self._client.ChildrenWatch(path, self._follower(folder))

    def _follower(self, folder: str) -> Callable[[list[str]], None]:
        def follow(children: list[str]) -> None:
            self._children[folder] = children
            self.addresses = tuple(callable_addresses(*(self._children[each] for each in FOLDERS)))

        return follow

    def expire(self) -> None:
        """End the session as ZooKeeper would."""
        expire(self._client, self._hosts)

    def close(self) -> None:
        """End it in order."""
        with contextlib.suppress(Exception):
            self._client.stop()
            self._client.close()
