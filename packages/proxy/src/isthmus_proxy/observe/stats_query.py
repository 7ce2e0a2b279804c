"""Which stats somebody asks for, and in which form histograms are shown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter, Gauge, Metric, TextReadout

KINDS: dict[str, type[Metric]] = {
    "Counters": Counter,
    "Gauges": Gauge,
    "Histograms": Histogram,
    "TextReadouts": TextReadout,
}
"""Kinds of stats under the names of Envoy's parameter ``type``."""

SUMMARY, CUMULATIVE, DISJOINT, DETAILED = "summary", "cumulative", "disjoint", "detailed"


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """``wanted`` must be found in the dotted name; ``used_only`` leaves out what is 0; ``kind`` None means all kinds.

    ``buckets`` is the form of histograms. ``text_readouts``: show text values in Prometheus text, too.
    """

    wanted: re.Pattern[str] | None = None
    used_only: bool = False
    kind: type[Metric] | None = None
    buckets: str = ""
    text_readouts: bool = False

    def takes(self, name: str, metric: Metric) -> bool:
        """Whether the stat with this full name is asked for."""
        if self.kind is not None and type(metric) is not self.kind:
            return False
        if self.wanted is not None and self.wanted.search(name) is None:
            return False
        return not self.used_only or is_used(metric)


EVERYTHING = StatsQuery()


def is_used(metric: Metric) -> bool:
    """Whether a stat was ever changed from its initial value (as far as its value tells)."""
    return bool(metric.count if isinstance(metric, Histogram) else metric.value)
