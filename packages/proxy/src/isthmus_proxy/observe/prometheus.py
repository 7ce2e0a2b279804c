"""Stats as Prometheus text (exposition format 0.0.4) under the names and labels that Envoy gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import nan

from isthmus_proxy.observe.histogram import BOUNDS, QUANTILES, Histogram
from isthmus_proxy.observe.stats import Counter, Gauge, Metric, Scope, StatsStore, TextReadout, full_name
from isthmus_proxy.observe.stats_query import EVERYTHING, SUMMARY, StatsQuery
from isthmus_proxy.observe.stats_settings import StatsSettings
from isthmus_proxy.observe.tags import Tags, of_name

_INVALID = re.compile(r"[^a-zA-Z0-9_]")
_Series = tuple[Tags, Metric, Sequence[float]]


def render(store: StatsStore, query: StatsQuery = EVERYTHING) -> Iterator[str]:
    """The text in small pieces, some of them empty: whoever sends it can give others a turn after each."""
    families: dict[tuple[str, type[Metric]], list[_Series]] = {}
    for scope in store.scopes():
        yield ""
        _collect(families, scope, query, store.settings)
    summaries = query.buckets == SUMMARY
    for kind, shown in ((Counter, "counter"), (Gauge, "gauge"), (Histogram, "summary" if summaries else "histogram")):
        for name in sorted(name for name, of_kind in families if of_kind is kind):
            yield f"# TYPE {name} {shown}\n"
            yield from _lines(name, families[name, kind], summaries=summaries)


def _collect(
    families: dict[tuple[str, type[Metric]], list[_Series]], scope: Scope, query: StatsQuery, settings: StatsSettings
) -> None:
    short, labels = scope.extracted()
    for metric in scope.metrics():
        if not query.takes(full_name(scope, metric), metric):
            continue
        kind, more = type(metric), labels
        if isinstance(metric, TextReadout):
            if not query.text_readouts:
                continue
            kind, more = Gauge, (*labels, ("text_value", metric.value))
        stem, code = of_name(metric.name) if settings.default_tags else (metric.name, ())
        if settings.tags:
            short, stem, more = settings.retag(scope.prefix, stem, short, more)
        bounds = settings.bounds(full_name(scope, metric)) if settings.buckets else BOUNDS
        name = _INVALID.sub("_", ".".join(part for part in ("envoy", short, stem) if part))
        families.setdefault((name, kind), []).append((code + more, metric, bounds))


def _lines(name: str, series: list[_Series], *, summaries: bool) -> Iterator[str]:
    for tags, metric, bounds in series:
        labels = ",".join(f'{label}="{escape(value)}"' for label, value in tags)
        if isinstance(metric, Histogram):
            lines = (
                _summary_lines(name, labels, metric) if summaries else _histogram_lines(name, labels, metric, bounds)
            )
            yield from lines
        else:
            value = 0 if isinstance(metric, TextReadout) else metric.value
            yield f"{name}{{{labels}}} {value}\n"


def _histogram_lines(name: str, labels: str, histogram: Histogram, bounds: Sequence[float]) -> Iterator[str]:
    comma = "," if labels else ""
    count = histogram.count
    for bound, below in zip(bounds, histogram.cumulative(bounds), strict=True):
        yield f'{name}_bucket{{{labels}{comma}le="{bound:.15g}"}} {below}\n'
    yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {count}\n'
    yield f"{name}_sum{{{labels}}} {histogram.total:.17g}\n"
    yield f"{name}_count{{{labels}}} {count}\n"


def _summary_lines(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    comma = "," if labels else ""
    values = histogram.quantiles() or [nan] * len(QUANTILES)
    for fraction, value in zip(QUANTILES, values, strict=True):
        yield f'{name}{{{labels}{comma}quantile="{fraction:.15g}"}} {value:.17g}\n'
    yield f"{name}_sum{{{labels}}} {histogram.total:.17g}\n"
    yield f"{name}_count{{{labels}}} {histogram.count}\n"


def escape(value: str) -> str:
    """A label value with backslash, quote and line feed escaped (exposition format)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
