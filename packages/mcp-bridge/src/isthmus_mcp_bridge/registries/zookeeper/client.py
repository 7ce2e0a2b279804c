"""The little of a ZooKeeper client that the adapter needs, so that it can be driven without a server."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from isthmus_mcp_bridge.errors import BridgeError


class ZooKeeperFault(BridgeError):  # noqa: N818 - it is the server's or the network's, and passes
    """A read did not succeed: connection lost, session expired, deadline passed. Worth another try."""


@dataclasses.dataclass(frozen=True, slots=True)
class Children:
    """The children of a node at one moment.

    ``czxid`` (the transaction that created the node), ``ctime_ms`` (when, in ms since the epoch) and ``pzxid`` (the last
    transaction that changed its children) are the node's own.
    """

    names: tuple[str, ...]
    czxid: int = 0
    ctime_ms: int = 0
    pzxid: int = 0

    @property
    def revision(self) -> str:
        """For people: the zxid of the last change."""
        return f"zxid {self.pzxid:#x}" if self.pzxid else ""


NO_CHILDREN = Children(())
"""What a node that does not exist holds."""


class ZooKeeperClient(Protocol):
    """A client that reports changed paths and the state of its connection to a HandOver, from whatever thread."""

    async def start(self) -> None:
        """Begin to connect, and go on trying; returns before there is a connection."""
        ...

    async def stop(self) -> None:
        """Close the session; returns within a deadline of its own."""
        ...

    async def children(self, path: str) -> Children | None:
        """Read a node's children and watch for the next change of them; None when there is no such node.

        For a missing node the next change is its creation. Raises ZooKeeperFault.
        """
        ...

    async def data(self, path: str) -> bytes | None:
        """Read a node's data and watch for the next change of it; None when there is no such node.

        Raises ZooKeeperFault.
        """
        ...
