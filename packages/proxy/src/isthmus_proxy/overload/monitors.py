"""What resource monitors read. A pressure is a share of the limit, 1.0 at the limit; it may be more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from isthmus_proxy.overload.model import MonitorConfig
from isthmus_proxy.reactor.reactor import Reactor

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory.max")),
    (Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")),
)
"""(usage, limit) of version 2 and of version 1."""
PROBE_S = 0.02
"""How often the event loop's delay is looked at, in seconds."""


class Monitor(Protocol):
    """Reads one resource."""

    def pressure(self) -> float:
        """The pressure now. Raises OSError or ValueError if it cannot be told."""
        ...


class ResidentMemory:
    """fixed_heap: resident memory of this process. (Envoy takes what its allocator holds.)"""

    __slots__ = ("_limit",)

    def __init__(self, limit: float) -> None:
        self._limit = limit

    def pressure(self) -> float:
        """See ``Monitor``."""
        return int(_STATM.read_text().split()[1]) * _PAGE / self._limit


class CgroupMemory:
    """cgroup_memory: memory of the control group, measured against its own limit, or ``limit`` where that is lower."""

    __slots__ = ("_files", "_limit")

    def __init__(self, limit: float, files: tuple[tuple[Path, Path], ...] = _CGROUPS) -> None:
        self._limit = limit
        self._files = files

    def pressure(self) -> float:
        """See ``Monitor``."""
        for usage, maximum in self._files:
            if usage.exists():
                text = maximum.read_text().strip()
                limits = [limit for limit in (self._limit, 0.0 if text == "max" else float(text)) if limit]
                return float(usage.read_text()) / min(limits) if limits else 0.0
        raise FileNotFoundError("there is no memory control group")


class Injected:
    """injected_resource: the number in a file, from 0 to 1. For tests and for drills."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def pressure(self) -> float:
        """See ``Monitor``."""
        value = float(self._path.read_text())
        if not 0 <= value <= 1:
            raise ValueError(f"{value} is not from 0 to 1")
        return value


class Connections:
    """Downstream connections."""

    __slots__ = ("_count", "_limit")

    def __init__(self, limit: float, count: Callable[[], int]) -> None:
        self._limit = limit
        self._count = count

    def pressure(self) -> float:
        """See ``Monitor``."""
        return self._count() / self._limit


class EventLoopDelay:
    """How late the reactor comes to what is due: the worst of many looks since the last reading."""

    __slots__ = ("_due", "_limit", "_reactor", "_timer", "_worst")

    def __init__(self, limit: float, reactor: Reactor) -> None:
        self._limit = limit
        self._reactor = reactor
        self._worst = 0.0
        self._timer = reactor.timer(self._looked)
        self._due = 0.0
        self._set()

    def _set(self) -> None:
        self._due = self._reactor.now + PROBE_S
        self._timer.set(self._due)

    def _looked(self) -> None:
        self._worst = max(self._worst, self._reactor.now - self._due)
        self._set()

    def pressure(self) -> float:
        """See ``Monitor``."""
        worst, self._worst = self._worst, 0.0
        return worst / self._limit


def make_monitor(config: MonitorConfig, reactor: Reactor, connections: Callable[[], int]) -> Monitor:
    """The monitor of ``config``."""
    if config.kind == "fixed_heap":
        return ResidentMemory(config.limit)
    if config.kind == "cgroup_memory":
        return CgroupMemory(config.limit)
    if config.kind == "injected_resource":
        return Injected(config.path)
    if config.kind == "connections":
        return Connections(config.limit, connections)
    return EventLoopDelay(config.limit, reactor)
