"""Compiled overload manager (envoy.config.overload.v3): what is watched, and what is done at which pressure. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ActionName = Literal[
    "disable_http_keepalive",
    "stop_accepting_requests",
    "stop_accepting_connections",
    "reject_incoming_connections",
    "shrink_heap",
]
ACTION_PREFIX = "envoy.overload_actions."
MonitorKind = Literal["fixed_heap", "cgroup_memory", "injected_resource", "connections", "event_loop_delay"]


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """One monitor. Its pressure is a reading divided by ``limit``: bytes, connections or seconds; ``path`` is a file to read.

    A ``limit`` of 0 means what the system says (cgroup_memory).
    """

    name: str
    kind: MonitorKind
    limit: float = 0.0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Trigger:
    """ThresholdTrigger and ScaledTrigger: 0 up to ``scaling``, 1 from ``saturation``, rising evenly between the two."""

    monitor: str
    scaling: float
    saturation: float

    def value(self, pressure: float) -> float:
        """How far an action is to go at ``pressure``, 0 to 1."""
        if pressure >= self.saturation:
            return 1.0
        if pressure <= self.scaling:
            return 0.0
        return (pressure - self.scaling) / (self.saturation - self.scaling)


@dataclass(frozen=True, slots=True)
class ActionConfig:
    """One action; of several triggers the strongest counts."""

    name: ActionName
    triggers: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class OverloadConfig:
    """All of it. ``max_connections`` is the hard limit of downstream connections, None for no limit."""

    refresh_interval: float = 1.0
    monitors: tuple[MonitorConfig, ...] = ()
    actions: tuple[ActionConfig, ...] = ()
    max_connections: int | None = None


@dataclass(frozen=True, slots=True)
class OverloadState:
    """What is asked of the data path: shares, 0 to 1, of requests to refuse, connections to end and connections to reject.

    ``accepting`` False leaves new connections in the kernel's queue.
    """

    refuse_requests: float = 0.0
    end_keepalive: float = 0.0
    reject_connections: float = 0.0
    accepting: bool = True


AT_EASE = OverloadState()
