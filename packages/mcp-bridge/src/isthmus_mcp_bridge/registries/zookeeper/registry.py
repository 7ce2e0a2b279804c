"""The ``zookeeper`` registry: services in Dubbo's interface-level layout, followed by two levels of watches.

Level one watches the root for interfaces, level two each interface's ``providers`` and ``configurators``. Watches are
one-shot and carry no difference, so a path whose watch fired is read again, which arms the next one. After any
interruption of the session everything is listed again, and until that is done the source is SUSPECT.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import unquote_plus

from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceSuspected
from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.zookeeper.client import (
    NO_CHILDREN,
    Children,
    ZooKeeperClient,
    ZooKeeperFault,
)
from isthmus_mcp_bridge.registries.zookeeper.directory import Directory, InterfaceNodes
from isthmus_mcp_bridge.registries.zookeeper.handover import MAX_PATHS, HandOver, Notices

NOT_INTERFACES = frozenset({"config", "mapping", "metadata"})
"""Children of the root in which Dubbo keeps other things."""
CONCURRENT_READS = 32
"""Enough to hide the round trip in a full listing, few enough not to starve the session's heartbeats."""

Connect = Callable[[HandOver], ZooKeeperClient]
Fetch = Callable[[ZooKeeperClient, str], Awaitable[InterfaceNodes]]
"""Reads one child of the root with everything below that the layout needs; raises ZooKeeperFault."""


async def fetch_interface(client: ZooKeeperClient, path: str) -> InterfaceNodes:
    """The interface-level layouts: ``providers`` and ``configurators`` below the interface."""
    providers = await client.children(f"{path}/providers")
    configurators = await client.children(f"{path}/configurators")
    name = unquote_plus(path.rpartition("/")[2])
    return InterfaceNodes(name, path, _or_none(providers), _or_none(configurators))


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """When everything is listed again, which repairs what a lost watch has missed.

    Every ``resync_interval_s`` seconds, and when more than ``max_notices`` paths changed before they could be read.
    """

    resync_interval_s: float = 300.0
    max_notices: int = MAX_PATHS


class ZooKeeperRegistry:
    """Follows the interfaces below one root."""

    def __init__(
        self,
        name: str,
        root: str,
        connect: Connect,
        directory: Directory,
        pace: Pace,
        random: Callable[[], float],
        fetch: Fetch = fetch_interface,
        owner: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """``connect`` makes the client; ``fetch`` reads and ``directory`` turns into claims; ``random`` spreads retries.

        ``owner`` names the child of the root that a watched path elsewhere belongs to.
        """
        self._owner = owner
        self._fetch = fetch
        self._random = random
        self._name = name
        self._root = "/" + root.strip("/")
        self._connect = connect
        self._directory = directory
        self._pace = pace
        self._backoff = Backoff(random)
        self._listed = False

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._name

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled."""
        handover = HandOver(self._pace.max_notices)
        client = self._connect(handover)
        emit(SourceSuspected(self._name, "not connected to ZooKeeper yet"))
        try:
            await client.start()
            await self._follow(client, handover, emit)
        finally:
            await client.stop()

    async def _follow(self, client: ZooKeeperClient, handover: HandOver, emit: Emit) -> None:
        wait_s = self._resync_s()
        while True:
            notices = await handover.wait(wait_s)
            wait_s = self._resync_s()
            if notices.interrupted or not notices.connected:
                self._suspect(emit, "listing again" if notices.connected else "the connection to ZooKeeper is lost")
            if not notices.connected:
                continue
            try:
                await self._catch_up(client, notices, emit)
                self._backoff.reset()
            except ZooKeeperFault as fault:
                self._suspect(emit, str(fault))
                wait_s = self._backoff.delay()

    def _resync_s(self) -> float:
        """The interval, spread so that replicas do not list at the same moment."""
        return self._pace.resync_interval_s * (0.9 + 0.2 * self._random())

    def _suspect(self, emit: Emit, reason: str) -> None:
        self._listed = False
        emit(SourceSuspected(self._name, reason))

    async def _catch_up(self, client: ZooKeeperClient, notices: Notices, emit: Emit) -> None:
        """List everything, or only read again what changed since everything was listed."""
        if not self._listed or notices.overflowed or not notices.paths:
            # Nothing happened for the whole interval, so what differs now was missed.
            await self._list_all(client, emit, audit=self._listed and not notices.overflowed)
            return
        known = self._directory.paths
        changed = {path for path in map(self._interface_path, notices.paths) if path in known}
        if self._root in notices.paths:
            names = await self._interfaces(client)
            for path in sorted(known - names):
                self._emit(emit, self._directory.remove(path))
            changed = (changed & names) | (names - known)
        for nodes in await self._read_all(client, changed):
            self._emit(emit, self._directory.update(nodes))

    async def _list_all(self, client: ZooKeeperClient, emit: Emit, *, audit: bool) -> None:
        listing = await self._read_all(client, await self._interfaces(client))
        revision = max((nodes.providers.pzxid for nodes in listing), default=0)
        emit(
            SourceListed(self._name, self._directory.replace(listing), audit, f"zxid {revision:#x}" if revision else "")
        )
        self._listed = True

    def _emit(self, emit: Emit, reports: dict[str, OriginReport]) -> None:
        for path, report in reports.items():
            emit(OriginChanged(self._name, path, report))

    async def _interfaces(self, client: ZooKeeperClient) -> set[str]:
        """The paths of all interfaces; a root that is missing is a fault."""
        children = await client.children(self._root)
        if children is None:
            raise ZooKeeperFault(f"{self._root} does not exist (yet); nothing is taken away until it does")
        return {f"{self._root}/{name}" for name in children.names if name not in NOT_INTERFACES}

    def _interface_path(self, path: str) -> str | None:
        """The interface to which a path belongs; None for the root and for what is no interface."""
        if not path.startswith(f"{self._root}/"):
            return self._owner(path)
        head, _, rest = path.removeprefix(self._root).partition("/")
        name = rest.partition("/")[0]
        return f"{self._root}/{name}" if not head and name and name not in NOT_INTERFACES else None

    async def _read_all(self, client: ZooKeeperClient, paths: Iterable[str]) -> list[InterfaceNodes]:
        """Read the interfaces, several at a time; the first fault ends it."""
        slots = asyncio.Semaphore(CONCURRENT_READS)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read(client, path, slots)) for path in sorted(paths)]
        except ExceptionGroup as group_of_faults:
            faults, others = group_of_faults.split(ZooKeeperFault)
            if others is not None or faults is None:
                raise
            raise ZooKeeperFault(str(faults.exceptions[0])) from faults
        return [task.result() for task in tasks]

    async def _read(self, client: ZooKeeperClient, path: str, slots: asyncio.Semaphore) -> InterfaceNodes:
        async with slots:
            return await self._fetch(client, path)


def _or_none(children: Children | None) -> Children:
    return NO_CHILDREN if children is None else children
