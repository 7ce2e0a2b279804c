"""Stats of the process itself below ``server.``: read when somebody asks, not kept up to date."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from isthmus_proxy.observe.stats import StatsStore

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class ProcessStats:
    """``refresh`` brings the gauges up to date; the values come from the callables."""

    def __init__(
        self,
        store: StatsStore,
        *,
        uptime: Callable[[], float],
        state: Callable[[], int],
        connections: Callable[[], int],
        epoch: int = 0,
    ) -> None:
        """``epoch``: how many processes this one came after by hot upgrades."""
        scope = store.scope("server")
        self._uptime, self._state, self._connections = uptime, state, connections
        self._gauges = {
            name: scope.gauge(name)
            for name in ("uptime", "state", "live", "total_connections", "memory_physical_size", "memory_allocated")
        }
        scope.gauge("concurrency").value = 1
        scope.gauge("hot_restart_epoch").value = epoch

    def refresh(self) -> None:
        """Read everything now."""
        gauges = self._gauges
        state = self._state()
        gauges["uptime"].value = int(self._uptime())
        gauges["state"].value = state
        gauges["live"].value = int(state == 0)
        gauges["total_connections"].value = self._connections()
        resident, shared = (int(pages) * _PAGE for pages in _STATM.read_text().split()[1:3])
        gauges["memory_physical_size"].value = resident
        gauges["memory_allocated"].value = resident - shared
