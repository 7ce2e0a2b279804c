"""One filter in Python under one connection manager: makes the filter's object, runs its own task, makes what joins exchanges."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from isthmus_proxy.extension.http_filter import Counter
from isthmus_proxy.http.filters.python.failures import FailureLog
from isthmus_proxy.http.filters.python.hooks import Hooks
from isthmus_proxy.http.filters.python.runner import Hook, Runner
from isthmus_proxy.http.filters.python.stats import PythonFilterStats
from isthmus_proxy.http.filters.python.stream import PythonStream
from isthmus_proxy.http.filters.stream_filter import FilterCallbacks, FilterContext

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.python.config import PythonFilterConfig, PythonRouteConfig

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before ``serve`` is started again after it failed: at first, and at most."""


class _Context:
    """See ``extension.FilterContext``."""

    __slots__ = ("_stats", "log", "name")

    def __init__(self, name: str, stats: PythonFilterStats) -> None:
        self.name = name
        self.log = _log.getChild(name)
        self._stats = stats

    def counter(self, name: str) -> Counter:
        """See FilterContext."""
        return self._stats.scope.counter(f"python.{self.name}.{name}")


class PythonFilterFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_config", "_failures", "_hooks", "_runner", "_scope", "_stats")

    def __init__(self, config: PythonFilterConfig, context: FilterContext) -> None:
        self._config = config
        self._stats = PythonFilterStats(context.stats, config.name)
        self._failures = FailureLog(config.name, _log)
        self._hooks = Hooks(config.kind(config.config, _Context(config.name, self._stats)))
        self._runner = Runner(config.limits, context, self._stats, self._failures)
        self._scope = trio.CancelScope()
        if self._hooks.serve is not None:
            context.start_soon(self._serve, self._hooks.serve)
        context.own(self)

    def create(self, callbacks: FilterCallbacks, overrides: tuple[PythonRouteConfig, ...]) -> PythonStream:
        """The filter's part in one exchange."""
        levels: tuple[Any, ...] = ()
        if overrides:
            levels = tuple([each.config for each in overrides if each.name == self._config.name])
        return PythonStream(callbacks, self._runner, self._hooks, self._config.limits, levels)

    async def _serve(self, hook: Hook) -> None:
        pause = FIRST_PAUSE
        with self._scope:
            while True:
                try:
                    await hook.function()
                    return
                except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it ends here
                    self._stats.errors.value += 1
                    self._failures.tell("serve", f"failed; it starts again in {pause:g} s", trio.current_time(), error)
                await trio.sleep(pause)
                pause = min(pause * 2.0, LONGEST_PAUSE)

    def close(self) -> None:
        """The connection manager is no more."""
        self._scope.cancel()
