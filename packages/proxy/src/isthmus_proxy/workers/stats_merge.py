"""The stats of one process as plain data, and those of several added up. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter, Gauge, Metric, StatsStore, TextReadout
from isthmus_proxy.observe.stats_settings import NO_SETTINGS, StatsSettings

_KINDS = {Counter: "c", Gauge: "g", Histogram: "h", TextReadout: "t"}

_SAME_EVERYWHERE = re.compile(
    r"(server\.(state|live|uptime|concurrency|hot_restart_epoch|initialization.*)"
    r"|listener_manager\.total_listeners_.*|listener_manager\.workers_started"
    r"|cluster_manager\.(active|warming)_clusters|cluster\..*\.(membership_.*|lb_subsets_active|max_host_weight|version)"
    r"|(.*\.)?control_plane\.(.*\.)?connected_state|.*\.(update_time|warming_state|config_reload_time_ms|version)"
    r"|runtime\..*|.*\.remaining_.*|.*\.draining)"
)
"""Gauges that describe the configuration or a state, not a share of the load: the largest counts, not the sum."""


def dump(store: StatsStore) -> list[Any]:
    """All stats of ``store``, fit for JSON."""
    return [
        [scope.prefix, scope.tags, [[_KINDS[type(metric)], metric.name, _value(metric)] for metric in scope.metrics()]]
        for scope in store.scopes()
    ]


def _value(metric: Metric) -> object:
    if isinstance(metric, Histogram):
        return [metric.total, {str(index): count for index, count in enumerate(metric.counts) if count}]
    return metric.value


def merge(dumps: Iterable[list[Any]], settings: StatsSettings = NO_SETTINGS) -> StatsStore:
    """One store with the sums of all: counters and most gauges added, histograms merged, states by the largest."""
    store = StatsStore(settings)
    for each in dumps:
        for prefix, tags, metrics in each:
            scope = store.scope(prefix, tags)
            for kind, name, value in metrics:
                if kind == "c":
                    scope.counter(name).value += value
                elif kind == "g":
                    gauge = scope.gauge(name)
                    same = _SAME_EVERYWHERE.fullmatch(f"{prefix}.{name}") is not None
                    gauge.value = max(gauge.value, value) if same else gauge.value + value
                elif kind == "h":
                    scope.histogram(name).add(value[0], {int(index): count for index, count in value[1].items()})
                else:
                    text = scope.text(name)
                    text.value = text.value or value
    return store
