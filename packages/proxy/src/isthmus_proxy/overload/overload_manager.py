"""Reads the monitors at an interval and tells the data path what to do (Envoy's overload manager)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.overload.model import ACTION_PREFIX, ActionName, MonitorConfig, OverloadConfig, OverloadState
from isthmus_proxy.overload.monitors import Monitor
from isthmus_proxy.reactor.reactor import Reactor

_log = logging.getLogger(__name__)


class Shedder(Protocol):
    """Who does what is asked (``listener.listener_manager.ListenerManager``)."""

    def shed(self, state: OverloadState) -> None:
        """Do as ``state`` says from now on."""


class _Watched:
    """A monitor with its stats and its last pressure."""

    __slots__ = ("_failed", "_gauge", "_monitor", "_name", "pressure", "well")

    def __init__(self, config: MonitorConfig, monitor: Monitor, store: StatsStore) -> None:
        scope = store.scope(f"overload.{config.name}")
        self._name = config.name
        self._monitor = monitor
        self._gauge = scope.gauge("pressure")
        self._failed = scope.counter("failed_updates")
        self.pressure = 0.0
        self.well = True

    def read(self) -> None:
        """Read the pressure; what cannot be read stays as it was."""
        try:
            self.pressure = self._monitor.pressure()
            self._gauge.value = int(self.pressure * 100)
            self.well = True
        except (OSError, ValueError) as error:
            self._failed.value += 1
            if self.well:
                _log.warning("resource monitor %s cannot tell the pressure: %s", self._name, error)
            self.well = False


class OverloadManager:
    """See the module. ``relieve`` gives memory back to the system, for shrink_heap."""

    __slots__ = ("_config", "_reactor", "_relieve", "_scopes", "_shedder", "_state", "_values", "_watched")

    def __init__(
        self,
        config: OverloadConfig,
        reactor: Reactor,
        store: StatsStore,
        shedder: Shedder,
        make_monitor: Callable[[MonitorConfig], Monitor],
        relieve: Callable[[], object],
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._scopes = {each.name: store.scope(f"overload.{ACTION_PREFIX}{each.name}") for each in config.actions}
        self._shedder = shedder
        self._relieve = relieve
        self._state = OverloadState()
        self._values: dict[ActionName, float] = {}
        self._watched = {each.name: _Watched(each, make_monitor(each), store) for each in config.monitors}

    def start(self) -> None:
        """Read the monitors now and from now on."""
        self.refresh()
        self._reactor.call_later(self._config.refresh_interval, self.start)

    def refresh(self) -> None:
        """Read every monitor once and act."""
        for watched in self._watched.values():
            watched.read()
        values = action_values(self._config, {name: watched.pressure for name, watched in self._watched.items()})
        for name, value in values.items():
            self._tell(name, value)
        self._values = values
        if values.get("shrink_heap", 0.0) >= 1:
            self._relieve()
        state = state_of(values)
        if state != self._state:
            self._state = state
            self._shedder.shed(state)

    def _tell(self, name: ActionName, value: float) -> None:
        scope = self._scopes[name]
        scope.gauge("active").value = int(value >= 1)
        scope.gauge("scale_percent").value = int(value * 100)
        before = self._values.get(name, 0.0)
        if (before > 0) != (value > 0):
            level = logging.WARNING if value else logging.INFO
            _log.log(level, "overload: %s %s", name, "begins" if value else "is over")


def action_values(config: OverloadConfig, pressures: Mapping[str, float]) -> dict[ActionName, float]:
    """How far each action is to go, 0 to 1, at the pressures of the monitors by name."""
    return {
        action.name: max(trigger.value(pressures.get(trigger.monitor, 0.0)) for trigger in action.triggers)
        for action in config.actions
    }


def state_of(values: Mapping[ActionName, float]) -> OverloadState:
    """What the data path has to do."""
    return OverloadState(
        refuse_requests=values.get("stop_accepting_requests", 0.0),
        end_keepalive=values.get("disable_http_keepalive", 0.0),
        reject_connections=values.get("reject_incoming_connections", 0.0),
        accepting=values.get("stop_accepting_connections", 0.0) < 1,
    )


def shared_out(config: OverloadConfig, workers: int) -> OverloadConfig:
    """What one of ``workers`` processes has to keep to: an equal share of memory and connections."""
    from dataclasses import replace  # noqa: PLC0415 - of several workers only

    monitors: Sequence[MonitorConfig] = [
        replace(each, limit=each.limit / workers) if each.kind in ("fixed_heap", "connections") else each
        for each in config.monitors
    ]
    limit = None if config.max_connections is None else max(1, config.max_connections // workers)
    return replace(config, monitors=tuple(monitors), max_connections=limit)
