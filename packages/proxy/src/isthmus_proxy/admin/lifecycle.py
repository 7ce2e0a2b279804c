"""Where the proxy is in its life, and the orders that change it. Envoy's server states; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class ServerState(Enum):
    """envoy.admin.v3.ServerInfo.State; the values are those of the gauge ``server.state``."""

    LIVE = 0
    DRAINING = 1
    PRE_INITIALIZING = 2
    INITIALIZING = 3


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
        self.on_drain: Callable[[], None] = lambda: None
        self.on_quit: Callable[[], None] = lambda: None

    @property
    def state(self) -> ServerState:
        """The current state; only LIVE is ready for traffic."""
        if self.draining or self.health_failed:
            return ServerState.DRAINING
        if not self.clusters_ready():
            return ServerState.PRE_INITIALIZING
        if not self.started or not self.listeners_ready():
            return ServerState.INITIALIZING
        return ServerState.LIVE

    def fail_health(self, *, failed: bool) -> None:
        """Take the proxy out of rotation, or back: ``/ready`` changes, and responses close their connections."""
        self.health_failed = failed
        self.on_health(failed)

    def request_drain(self) -> None:
        """Stop accepting and let connections end."""
        self.on_drain()

    def request_quit(self) -> None:
        """End the process at once."""
        self.on_quit()
