"""The ``nacos`` registry over gRPC (Nacos 2 and 3): names are listed again and again, each service is subscribed to.

Subscriptions belong to the connection, so after every reconnection everything is subscribed anew, and until that is done the
source is SUSPECT. A resync asks for every service once more and compares.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.following import Reporter, first_fault, keep_following
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.nacos.connection import NacosConnection, connected
from isthmus_mcp_bridge.registries.nacos.http_registry import MAX_PAGES, PAGE, page_of
from isthmus_mcp_bridge.registries.nacos.services import NacosName, parse_name, parts_of, read_service

CONCURRENT_READS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class NacosOptions:
    """``targets`` are ``host:port`` of gRPC (main port + 1000); ``namespace`` is Nacos's own, empty for the public one."""

    targets: tuple[str, ...]
    namespace: str = ""
    groups: tuple[str, ...] = ("DEFAULT_GROUP",)
    list_interval_s: float = 10.0
    resync_interval_s: float = 300.0


class NacosGrpcRegistry:
    """Follows one namespace."""

    def __init__(self, how: Plain, options: NacosOptions, random: Callable[[], float]) -> None:
        self._how = how
        self._options = options
        self._random = random
        self._backoff = Backoff(random)
        self._targets = itertools.cycle(options.targets)

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._how.registry

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled."""
        reporter = Reporter(self.name, emit)
        await keep_following(self.name, emit, self._backoff, lambda: self._follow(reporter))

    async def _follow(self, reporter: Reporter) -> None:
        async with connected(next(self._targets), self._options.namespace, {}) as connection:
            early: dict[NacosName, Any] = {}
            sink: Callable[[NacosName, Any], None] = early.__setitem__

            def push(body: dict[str, Any]) -> None:
                name = NacosName(str(body.get("groupName", "")), str(body.get("serviceName", "")))
                info = body.get("serviceInfo")
                if not name.name and isinstance(info, dict):
                    name = NacosName(str(info.get("groupName", "")), str(info.get("name", "")))
                sink(name, info)

            def take(name: NacosName, info: Any) -> None:
                self._change(reporter, name, info)

            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(connection.pushes(push))
                    listing = await self._list(connection)
                    reporter.listed(listing)
                    self._backoff.reset()
                    sink = take
                    for name, info in early.items():
                        take(name, info)
                    group.create_task(self._watch_names(connection, reporter))
                    group.create_task(self._audit(connection, reporter))
            except BaseExceptionGroup as faults:
                raise first_fault(faults) from faults

    def _change(self, reporter: Reporter, name: NacosName, info: Any) -> None:
        try:
            entry = read_service(self._how, name, info)
        except RegistryFault:
            return  # the push of a server that is still loading; the resync finds out
        if entry is not None:
            reporter.changed(str(name), entry)

    async def _watch_names(self, connection: NacosConnection, reporter: Reporter) -> None:
        while True:
            await asyncio.sleep(self._options.list_interval_s)
            names = {str(name): name for name in await self._names(connection)}
            for gone in sorted(reporter.book.origins - names.keys()):
                await self._subscribe(connection, parse_name(gone, ""), subscribe=False)
                reporter.changed(gone, None)
            for new in sorted(names.keys() - reporter.book.origins):
                reporter.changed(new, await self._subscribe(connection, names[new]))

    async def _audit(self, connection: NacosConnection, reporter: Reporter) -> None:
        while True:
            await asyncio.sleep(self._options.resync_interval_s * (0.9 + 0.2 * self._random()))
            reporter.listed(await self._list(connection), audit=True)

    async def _list(self, connection: NacosConnection) -> dict[str, Entry]:
        """Subscribe to everything. Returns it."""
        slots = asyncio.Semaphore(CONCURRENT_READS)

        async def read(name: NacosName) -> Entry | None:
            async with slots:
                return await self._subscribe(connection, name)

        names = await self._names(connection)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(name)) for name in names]
        found = {str(name): task.result() for name, task in zip(names, tasks, strict=True)}
        return {name: entry for name, entry in found.items() if entry is not None}

    async def _names(self, connection: NacosConnection) -> Sequence[NacosName]:
        found: dict[NacosName, None] = {}
        for group in self._options.groups:
            before = len(found)
            for page in range(1, MAX_PAGES + 1):
                body = {"pageNo": page, "pageSize": PAGE, "groupName": group, "namespace": self._options.namespace}
                names, count = page_of(await connection.ask("ServiceListRequest", {**body, "module": "naming"}))
                found.update(dict.fromkeys(parse_name(name, group) for name in names))
                if len(found) - before >= count:
                    break
                if not names:
                    raise RegistryFault(f"Nacos lists {len(found) - before} of {count} services of group {group}")
        return [name for name in found if parts_of(name, "http") is not None]

    async def _subscribe(self, connection: NacosConnection, name: NacosName, *, subscribe: bool = True) -> Entry | None:
        body = {"namespace": self._options.namespace, "groupName": name.group, "serviceName": name.name}
        answer = await connection.ask(
            "SubscribeServiceRequest", {**body, "subscribe": subscribe, "clusters": "", "module": "naming"}
        )
        return read_service(self._how, name, answer.get("serviceInfo")) if subscribe else None
