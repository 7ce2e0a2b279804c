"""Where the proxy is in its life, and the orders that change it. Envoy's server states; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class ServerState(Enum):
    """envoy.admin.v3.ServerInfo.State; the values are those of the gauge ``server.state``."""

    LIVE = 0
    DRAINING = 1
    PRE_INITIALIZING = 2
    INITIALIZING = 3


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """What ``/drain_listeners`` asks for.

    ``graceful``: end connections during the drain time, and stop listening after it. ``keep_listening``: end connections, but
    never stop (``skip_exit``). ``inbound_only``: only listeners whose traffic_direction is INBOUND.
    """

    graceful: bool = False
    keep_listening: bool = False
    inbound_only: bool = False


class Lifecycle:
    """The state, derived from what has happened. The orders are callbacks that the composition root sets."""

    def __init__(self) -> None:
        self.clusters_ready: Callable[[], bool] = lambda: True
        self.listeners_ready: Callable[[], bool] = lambda: True
        self.note: Callable[[], str] = lambda: ""
        self.started = False
        self.draining = False
        self.health_failed = False
        self.on_health: Callable[[bool], None] = lambda _failed: None
        self.on_drain: Callable[[DrainOrder], None] = lambda _order: None
        self.on_quit: Callable[[], None] = lambda: None

    @property
    def state(self) -> ServerState:
        """The current state; only LIVE is ready for traffic."""
        if self.leaving:
            return ServerState.DRAINING
        if not self.clusters_ready():
            return ServerState.PRE_INITIALIZING
        if not self.started or not self.listeners_ready():
            return ServerState.INITIALIZING
        return ServerState.LIVE

    @property
    def leaving(self) -> bool:
        """Whether health checks are to fail: somebody said so, or the proxy is about to end."""
        return self.draining or self.health_failed

    def fail_health(self, *, failed: bool) -> None:
        """Take the proxy out of rotation, or back: ``/ready`` changes, and responses close their connections."""
        self.health_failed = failed
        self.on_health(failed)

    def request_drain(self, order: DrainOrder) -> None:
        """Let connections end, and stop accepting at once, later or never."""
        self.on_drain(order)

    def request_quit(self) -> None:
        """End the process at once."""
        self.on_quit()
