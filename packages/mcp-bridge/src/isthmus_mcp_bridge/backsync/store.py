"""The one interface of registries that can be written: names in folders, which belong to sessions and end with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from isthmus_mcp_bridge.registries.faults import RegistryFault


class Conflict(RegistryFault):
    """The registry is not what the transaction took it for; nothing of it was done. Read again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Notices:
    """What happened since the last ``wait``. ``session`` differs from before when a new session has begun, without the old one's names."""

    connected: bool
    session: int
    folders: frozenset[str] = frozenset()
    interrupted: bool = False
    """The connection was gone for a while: every folder may have changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose a name is: ``mine``: this session's. ``version`` is what a deletion checks."""

    mine: bool
    version: int = 0


class EntryStore(Protocol):
    """A client with one session. Everything but ``wait`` raises RegistryFault, within a deadline of its own."""

    async def start(self) -> None:
        """Begin to connect, and go on trying; returns before there is a connection."""
        ...

    async def stop(self) -> None:
        """End the session, and with it everything that belongs to it."""
        ...

    async def wait(self, timeout_s: float) -> Notices:
        """What happened, as soon as something did, or nothing after ``timeout_s``."""
        ...

    async def read(self, folder: str) -> frozenset[str]:
        """The names in a folder, with a notice of the next change; none where the folder is missing."""
        ...

    async def owners(self, folder: str, names: Collection[str]) -> Mapping[str, Owner]:
        """Whose these names are; those that are gone are left out."""
        ...

    async def commit(self, folder: str, create: str, delete: Sequence[tuple[str, int]], data: bytes) -> None:
        """Create a name (unless empty) for this session and delete others at these versions: all of it or nothing.

        A name may be in both: it is that of another session. Raises Conflict.
        """
        ...

    async def lead(self, lock: str) -> int | None:
        """Try to hold a lock for this session. Returns its epoch, greater than any before, or None while another session holds it.

        The next change of the lock is a notice of the folder ``lock``.
        """
        ...
