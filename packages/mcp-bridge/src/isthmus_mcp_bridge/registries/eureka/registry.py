"""The ``eureka`` registry: a full fetch, then deltas; a delta whose hash does not agree is answered with a full fetch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.eureka.applications import Applications
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.following import PollingRegistry
from isthmus_mcp_bridge.registries.instances import Plain
from isthmus_mcp_bridge.registries.json_http import JsonHttp


class EurekaReader:
    """Reads one Eureka; keeps what it was told between deltas."""

    def __init__(self, how: Plain, http: JsonHttp, full_every: int = 20) -> None:
        """Every ``full_every`` turns everything is fetched, whatever the hash says: it only counts."""
        self._how = how
        self._http = http
        self._full_every = full_every
        self._turn = 0
        self._applications = Applications()
        self.mismatches = 0
        """Deltas that did not lead to what the server has."""

    async def __call__(self) -> Mapping[str, Entry]:
        """Everything that the server holds now. Raises RegistryFault."""
        turn, self._turn = self._turn, 0
        if not turn or turn >= self._full_every or not await self._delta():
            answer, _ = await self._http.get("/apps")
            self._applications.replace(answer)
            turn = 0
        self._turn = turn + 1
        return self._applications.entries(self._how)

    async def _delta(self) -> bool:
        try:
            answer, _ = await self._http.get("/apps/delta")
        except RegistryFault as fault:
            if "answers 403" in str(fault) or "answers 404" in str(fault):
                return False  # the server has deltas switched off
            raise
        if self._applications.apply(answer):
            return True
        self.mismatches += 1
        return False


def eureka_registry(how: Plain, http: JsonHttp, interval_s: float, random: Callable[[], float]) -> PollingRegistry:
    """The adapter; Eureka's own clients ask every 30 s."""
    return PollingRegistry(how.registry, EurekaReader(how, http), interval_s, random, http.close)
