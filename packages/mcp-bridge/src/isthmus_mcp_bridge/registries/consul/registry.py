"""The ``consul`` registry: one blocking query for the names of services and one for each service's health.

The catalog's index does not move when only a check flips, hence a query for each service. After a fault everything is listed
again, and until then the source is SUSPECT. Every ``resync_interval_s`` everything is read once more, blocking nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from isthmus_mcp_bridge.registries.backoff import Backoff
from isthmus_mcp_bridge.registries.base import Emit
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.consul.health import read_health
from isthmus_mcp_bridge.registries.consul.index import next_index
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.following import Reporter, first_fault, keep_following
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp

CONCURRENT_READS = 16
MAX_SERVICES = 10_000
"""Each service holds a connection; past this, say which ones are wanted."""
SHORTEST_TURN_S = 0.05
"""Consul asks clients to limit their rate: an index may move without a change that concerns the query."""
GRACE_S = 30.0
"""Consul adds up to a sixteenth of the wait; an answer later than this is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConsulOptions:
    """``wait_s`` is how long a query blocks at most (Consul's own limit is 600 s); empty strings leave the choice to Consul."""

    datacenter: str = ""
    wait_s: float = 300.0
    resync_interval_s: float = 300.0


class ConsulRegistry:
    """Follows the services of one datacenter."""

    def __init__(
        self, how: Plain, options: ConsulOptions, connect: Callable[[], JsonHttp], random: Callable[[], float]
    ) -> None:
        self._how = how
        self._options = options
        self._connect = connect
        self._random = random
        self._backoff = Backoff(random)

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return self._how.registry

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled."""
        http, reporter = self._connect(), Reporter(self.name, emit)
        try:
            await keep_following(self.name, emit, self._backoff, lambda: self._follow(http, reporter))
        finally:
            await http.close()

    async def _follow(self, http: JsonHttp, reporter: Reporter) -> None:
        names, index = await self._names(http, 0)
        read = await self._read_all(http, names)
        reporter.listed({name: entry for name, (entry, _) in read.items()}, revision=f"index {index}")
        self._backoff.reset()
        try:
            async with asyncio.TaskGroup() as group:
                watches: dict[str, asyncio.Task[None]] = {}
                for name, (_, at) in read.items():
                    watches[name] = group.create_task(self._watch(http, reporter, name, at))
                group.create_task(self._watch_names(http, reporter, group, watches, index))
                group.create_task(self._audit(http, reporter))
        except BaseExceptionGroup as faults:
            raise first_fault(faults) from faults

    async def _watch_names(
        self,
        http: JsonHttp,
        reporter: Reporter,
        group: asyncio.TaskGroup,
        watches: dict[str, asyncio.Task[None]],
        index: int,
    ) -> None:
        while True:
            names, index = await self._names(http, index)
            for name in sorted(watches.keys() - names):
                watches.pop(name).cancel()
                reporter.changed(name, None)
            for name in sorted(names - watches.keys()):
                watches[name] = group.create_task(self._watch(http, reporter, name, 0))
            await asyncio.sleep(SHORTEST_TURN_S)

    async def _watch(self, http: JsonHttp, reporter: Reporter, name: str, index: int) -> None:
        while True:
            entry, index = await self._read(http, name, index)
            reporter.changed(name, entry)
            await asyncio.sleep(SHORTEST_TURN_S)

    async def _audit(self, http: JsonHttp, reporter: Reporter) -> None:
        while True:
            await asyncio.sleep(self._options.resync_interval_s * (0.9 + 0.2 * self._random()))
            names, index = await self._names(http, 0)
            read = await self._read_all(http, names)
            reporter.listed({name: entry for name, (entry, _) in read.items()}, audit=True, revision=f"index {index}")

    async def _names(self, http: JsonHttp, index: int) -> tuple[set[str], int]:
        found, headers = await self._get(http, "/v1/catalog/services", index)
        if not isinstance(found, dict):
            raise RegistryFault("/v1/catalog/services: the answer is not a mapping")
        if len(found) > MAX_SERVICES:
            raise RegistryFault(f"Consul holds {len(found)} services; at most {MAX_SERVICES} are followed")
        return {name for name in found if name != "consul"}, next_index(index, headers)

    async def _read_all(self, http: JsonHttp, names: Iterable[str]) -> dict[str, tuple[Entry, int]]:
        slots = asyncio.Semaphore(CONCURRENT_READS)

        async def read(name: str) -> tuple[Entry, int]:
            async with slots:
                return await self._read(http, name, 0)

        ordered = sorted(names)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(name)) for name in ordered]
        except BaseExceptionGroup as faults:
            raise first_fault(faults) from faults
        return {name: task.result() for name, task in zip(ordered, tasks, strict=True)}

    async def _read(self, http: JsonHttp, name: str, index: int) -> tuple[Entry, int]:
        found, headers = await self._get(http, f"/v1/health/service/{quote(name, safe='')}", index)
        at = next_index(index, headers)
        return read_health(self._how, name, found), at

    async def _get(self, http: JsonHttp, path: str, index: int) -> tuple[object, Mapping[str, str]]:
        query = {"dc": self._options.datacenter} if self._options.datacenter else {}
        if index:
            query |= {"index": str(index), "wait": f"{self._options.wait_s:g}s"}
        wait_s = self._options.wait_s * 17 / 16 if index else 0
        return await http.get(path, query, wait_s + GRACE_S)
