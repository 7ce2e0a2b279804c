"""The ``nacos`` registry over the HTTP interface of Nacos 1: lists of names, then each service, again and again.

Nacos 1 pushes by UDP, which gets lost and does not pass address translation; its own clients poll as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.following import PollingRegistry, first_fault
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp
from isthmus_mcp_bridge.registries.nacos.services import NacosName, parse_name, parts_of, read_service

PAGE = 500
MAX_PAGES = 1000
CONCURRENT_READS = 16


class NacosHttpReader:
    """Reads one namespace of a Nacos."""

    def __init__(self, how: Plain, http: JsonHttp, namespace: str, groups: Sequence[str]) -> None:
        """``namespace`` is Nacos's own, empty for the public one."""
        self._how = how
        self._http = http
        self._namespace = namespace
        self._groups = groups

    async def __call__(self) -> Mapping[str, Entry]:
        """Everything in the namespace. Raises RegistryFault, also when a list does not hold as many names as it says."""
        names = [name for group in self._groups for name in await self._names(group)]
        wanted = [name for name in names if parts_of(name, "http") is not None]
        slots = asyncio.Semaphore(CONCURRENT_READS)

        async def read(name: NacosName) -> Entry | None:
            async with slots:
                return await self._service(name)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(name)) for name in wanted]
        except BaseExceptionGroup as faults:
            raise first_fault(faults) from faults
        found = {str(name): task.result() for name, task in zip(wanted, tasks, strict=True)}
        return {name: entry for name, entry in found.items() if entry is not None}

    async def _names(self, group: str) -> list[NacosName]:
        found: dict[NacosName, None] = {}
        for page in range(1, MAX_PAGES + 1):
            query = {"pageNo": str(page), "pageSize": str(PAGE), "groupName": group, "namespaceId": self._namespace}
            answer, _ = await self._http.get("/v1/ns/service/list", query)
            names, count = page_of(answer)
            found.update(dict.fromkeys(parse_name(name, group) for name in names))
            if len(found) >= count:
                return list(found)
            if not names:
                raise RegistryFault(f"Nacos lists {len(found)} of {count} services of group {group}: a page is missing")
        raise RegistryFault(f"Nacos lists more than {MAX_PAGES * PAGE} services in group {group}")

    async def _service(self, name: NacosName) -> Entry | None:
        query = {"serviceName": str(name), "namespaceId": self._namespace, "healthyOnly": "false"}
        answer, _ = await self._http.get("/v1/ns/instance/list", query)
        return read_service(self._how, name, answer)


def page_of(answer: Any) -> tuple[list[str], int]:
    """The names in a page of a list, and how many there are in all. Raises RegistryFault."""
    try:
        names, count = answer.get("doms", answer.get("serviceNames")), int(answer["count"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RegistryFault("Nacos answers with something that is no list of services") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RegistryFault("Nacos answers with a list of services without names")
    return names, count


def nacos_http_registry(
    how: Plain,
    http: JsonHttp,
    namespace: str,
    groups: Sequence[str],
    interval_s: float,
    random: Callable[[], float],
) -> PollingRegistry:
    """The adapter; Nacos's own clients ask every 10 s."""
    return PollingRegistry(how.registry, NacosHttpReader(how, http, namespace, groups), interval_s, random, http.close)
