"""Stats of what is remembered or borrowed elsewhere: read when somebody asks, so that keeping them costs the data path nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isthmus_proxy.observe.stats import StatsStore

Readings = Callable[[], Mapping[str, int]]
"""Names to values; a name that ends in ``_size`` is a gauge, all others are counters."""


class MemoStats:
    """``refresh`` brings the stats below ``prefix`` up to date from all ``sources``."""

    __slots__ = ("_scope", "_sources")

    def __init__(self, store: StatsStore, prefix: str, *sources: Readings) -> None:
        self._scope = store.scope(prefix)
        self._sources = sources

    def refresh(self) -> None:
        """Read everything now."""
        for source in self._sources:
            for name, value in source().items():
                if name.endswith("_size"):
                    self._scope.gauge(name).value = value
                else:
                    self._scope.counter(name).value = value
