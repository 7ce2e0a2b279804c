"""Stats as the text and the JSON of Envoy's ``/stats``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

from isthmus_proxy.observe.histogram import BOUNDS, QUANTILES, Histogram
from isthmus_proxy.observe.stats import Metric, Scope, StatsStore, TextReadout, full_name
from isthmus_proxy.observe.stats_query import CUMULATIVE, DETAILED, DISJOINT, EVERYTHING, SUMMARY, StatsQuery

_Row = tuple[str, Metric]


def rows(store: StatsStore, query: StatsQuery) -> Iterator[_Row | None]:
    """Stats sorted by full name, text values before all others.

    None stands for a moment at which others may be given a turn: a store of a million stats is never walked in one go.
    """
    groups = list(_groups(store.scopes()))
    for metrics in (Scope.texts, Scope.numbers):
        for group in groups:
            yield None
            found = [(full_name(scope, metric), metric) for scope in group for metric in metrics(scope)]
            found.sort(key=_name)
            for row in found:
                if query.takes(*row):
                    yield row


def _groups(scopes: list[Scope]) -> Iterator[list[Scope]]:
    """Scopes in order, together where one prefix is within another, so that their names may be mixed."""
    scopes.sort(key=lambda scope: f"{scope.prefix}." if scope.prefix else "")
    group: list[Scope] = []
    for scope in scopes:
        if group and not (not group[0].prefix or scope.prefix.startswith(f"{group[0].prefix}.")):
            yield group
            group = []
        group.append(scope)
    if group:
        yield group


def _name(row: _Row) -> str:
    return row[0]


def render_text(store: StatsStore, query: StatsQuery = EVERYTHING) -> Iterator[str]:
    """One line per stat; histograms last, with cumulative quantiles (no interval values are kept: they read ``nan``)."""
    histograms: list[tuple[str, Histogram]] = []
    for row in rows(store, query):
        if row is None:
            yield ""
            continue
        name, metric = row
        if isinstance(metric, Histogram):
            histograms.append((name, metric))
        else:
            yield f'{name}: "{metric.value}"\n' if isinstance(metric, TextReadout) else f"{name}: {metric.value}\n"
    shown = _FORMS.get(query.buckets, summary)
    for name, histogram in histograms:
        yield f"{name}: {shown(histogram)}\n"


def summary(histogram: Histogram) -> str:
    """``P0(nan,1.05) P25(nan,1.05) ...`` or ``No recorded values``."""
    values = histogram.quantiles()
    if not values:
        return "No recorded values"
    return " ".join(
        f"P{fraction * 100:.15g}(nan,{value:.17g})" for fraction, value in zip(QUANTILES, values, strict=True)
    )


def _buckets(histogram: Histogram, *, disjoint: bool) -> str:
    """``B0.5(0,2) B1(0,3) ...``: of the interval, of which nothing is kept, and of all."""
    if not histogram.count:
        return "No recorded values"
    counts = bucket_counts(histogram, disjoint=disjoint)
    return " ".join(f"B{bound:g}(0,{count})" for bound, count in zip(BOUNDS, counts, strict=True))


def bucket_counts(histogram: Histogram, *, disjoint: bool) -> list[int]:
    """How many values were at most each bound; with ``disjoint``, and above the one before."""
    counts = histogram.cumulative()
    return [high - low for low, high in pairwise((0, *counts))] if disjoint else counts


def _detailed(histogram: Histogram) -> str:
    """All buckets that are not empty, as lower edge, width and count, and the summary."""
    if not histogram.count:
        return "No recorded values"
    totals = ", ".join(f"{low:g},{width:g}:{count}" for low, width, count in histogram.used())
    return f"\n  totals={totals}\n  intervals=\n  summary={summary(histogram)}"


_FORMS: dict[str, Callable[[Histogram], str]] = {
    CUMULATIVE: partial(_buckets, disjoint=False),
    DISJOINT: partial(_buckets, disjoint=True),
    DETAILED: _detailed,
}


def render_json(store: StatsStore, query: StatsQuery = EVERYTHING) -> Iterator[str]:
    """Envoy's ``format=json``: a list of name and value, and one object with all histograms."""
    histograms: list[tuple[str, Histogram]] = []
    yield '{"stats":['
    separator = ""
    for row in rows(store, query):
        if row is None:
            yield ""
            continue
        name, metric = row
        if isinstance(metric, Histogram):
            histograms.append((name, metric))
        else:
            yield separator + json.dumps({"name": name, "value": metric.value}, separators=(",", ":"))
            separator = ","
    if histograms:
        yield separator
        yield from (_histograms if query.buckets in ("", SUMMARY) else partial(_bucketed, query.buckets))(histograms)
    yield "]}"


def _histograms(histograms: list[tuple[str, Histogram]]) -> Iterator[str]:
    quantiles = [float(f"{fraction * 100:.15g}") for fraction in QUANTILES]
    yield (
        '{"histograms":{"supported_quantiles":'
        + json.dumps(quantiles, separators=(",", ":"))
        + ',"computed_quantiles":['
    )
    separator = ""
    for name, histogram in histograms:
        values: list[float | None] = [*histogram.quantiles()] or [None] * len(QUANTILES)
        computed = {"name": name, "values": [{"interval": None, "cumulative": value} for value in values]}
        yield separator + json.dumps(computed, separators=(",", ":"))
        separator = ","
    yield "]}}"


def _bucketed(form: str, histograms: list[tuple[str, Histogram]]) -> Iterator[str]:
    yield '{"histograms":['
    separator = ""
    for name, histogram in histograms:
        if form == DETAILED:
            shown = [{"lower_bound": low, "width": width, "count": count} for low, width, count in histogram.used()]
            one: dict[str, object] = {"name": name, "totals": shown, "intervals": []}
        else:
            counts = bucket_counts(histogram, disjoint=form == DISJOINT)
            pairs = zip(BOUNDS, counts, strict=True)
            one = {
                "name": name,
                "buckets": [{"upper_bound": bound, "interval": 0, "cumulative": count} for bound, count in pairs],
            }
        yield separator + json.dumps(one, separators=(",", ":"))
        separator = ","
    yield "]}"
