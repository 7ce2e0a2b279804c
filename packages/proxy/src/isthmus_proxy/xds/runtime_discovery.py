"""Layers of the run-time over xDS (RTDS): waited for before anything else, then taken over whenever they change. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import Layer, Runtime, Value
from isthmus_proxy.xds.resources import Update


class RuntimeDiscovery:
    """``layers`` are those that come over xDS; ``compile_values`` makes values of a Struct and raises ConfigError."""

    def __init__(
        self,
        runtime: Runtime,
        layers: tuple[Layer, ...],
        compile_values: Callable[[Any, str], Mapping[str, Value]],
    ) -> None:
        self._runtime = runtime
        self._compile = compile_values
        self._names: dict[str, list[str]] = {}  # of layers, by that of their resource
        for layer in layers:
            self._names.setdefault(layer.resource, []).append(layer.name)
        self._missing = set(self._names)
        timeouts = [layer.initial_fetch_timeout for layer in layers]
        self.timeout = 0.0 if 0.0 in timeouts else max(timeouts, default=0.0)

    @property
    def resources(self) -> frozenset[str]:
        """The names to ask for."""
        return frozenset(self._names)

    @property
    def complete(self) -> bool:
        """Whether every layer was sent once."""
        return not self._missing

    def apply(self, update: Update) -> dict[str, str]:
        """RTDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        for resource in update.resources:
            message: Any = resource.message
            try:
                self._set(resource.name, self._compile(message.layer, "layer"))
            except ConfigError as error:
                refused[resource.name] = str(error)
        for name in update.removed:
            self._set(name, {})
        return refused

    def _set(self, resource: str, values: Mapping[str, Value]) -> None:
        for name in self._names.get(resource, ()):
            self._runtime.replace(name, values)
        self._missing.discard(resource)
