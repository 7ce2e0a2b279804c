"""The HTTP filters of one connection manager before its router, and which of them a route leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus_proxy.http.filters.stream_filter import FilterFactory
from isthmus_proxy.route.filter_overrides import overrides
from isthmus_proxy.route.model import ClusterWeight, Decision


@dataclass(frozen=True, slots=True)
class FilterEntry:
    """One filter: its ``name`` in http_filters, and whether routes have to enable it."""

    name: str
    factory: FilterFactory
    disabled: bool = False


Chosen = tuple[tuple[FilterFactory, tuple[Any, ...]], ...]
"""The filters that a route leaves, each with its per-route configurations, the least specific first."""


class HttpFilterChain:
    """See the module."""

    __slots__ = ("entries", "unrouted")

    def __init__(self, entries: tuple[FilterEntry, ...]) -> None:
        self.entries = entries
        self.unrouted: Chosen = tuple((entry.factory, ()) for entry in entries if not entry.disabled)

    def choose(self, decision: Decision | None, weight: ClusterWeight | None) -> Chosen:
        """The filters for a request that goes by ``decision`` to the cluster of ``weight``."""
        if decision is None or not self._spoken_of(decision, weight):
            return self.unrouted
        chosen: list[tuple[FilterFactory, tuple[Any, ...]]] = []
        for entry in self.entries:
            levels = overrides(decision, weight, entry.name)
            disabled = levels[-1].disabled if levels else entry.disabled
            if not disabled:
                configs = tuple([level.config for level in levels if level.config is not None])
                chosen.append((entry.factory, configs))
        return tuple(chosen)

    def _spoken_of(self, decision: Decision, weight: ClusterWeight | None) -> bool:
        return bool(
            decision.route.filters
            or decision.virtual_host.filters
            or decision.configuration.filters
            or (weight is not None and weight.filters)
        )
