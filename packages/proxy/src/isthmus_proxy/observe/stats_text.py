"""Stats as the text and the JSON of Envoy's ``/stats``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from isthmus_proxy.observe.histogram import QUANTILES, Histogram
from isthmus_proxy.observe.prometheus import is_used
from isthmus_proxy.observe.stats import Metric, Scope, StatsStore, TextReadout, full_name

_Row = tuple[str, Metric]


def rows(store: StatsStore, *, wanted: re.Pattern[str] | None, used_only: bool) -> Iterator[_Row | None]:
    """Stats sorted by full name, text values before all others; ``wanted`` must be found in the name.

    None stands for a moment at which others may be given a turn: a store of a million stats is never walked in one go.
    """
    groups = list(_groups(store.scopes()))
    for metrics in (Scope.texts, Scope.numbers):
        for group in groups:
            yield None
            found = [(full_name(scope, metric), metric) for scope in group for metric in metrics(scope)]
            found.sort(key=_name)
            for row in found:
                if (wanted is None or wanted.search(row[0]) is not None) and not (used_only and not is_used(row[1])):
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


def render_text(store: StatsStore, *, wanted: re.Pattern[str] | None = None, used_only: bool = False) -> Iterator[str]:
    """One line per stat; histograms last, with cumulative quantiles (no interval values are kept: they read ``nan``)."""
    histograms: list[tuple[str, Histogram]] = []
    for row in rows(store, wanted=wanted, used_only=used_only):
        if row is None:
            yield ""
            continue
        name, metric = row
        if isinstance(metric, Histogram):
            histograms.append((name, metric))
        else:
            yield f'{name}: "{metric.value}"\n' if isinstance(metric, TextReadout) else f"{name}: {metric.value}\n"
    for name, histogram in histograms:
        yield f"{name}: {summary(histogram)}\n"


def summary(histogram: Histogram) -> str:
    """``P0(nan,1.05) P25(nan,1.05) ...`` or ``No recorded values``."""
    values = histogram.quantiles()
    if not values:
        return "No recorded values"
    return " ".join(
        f"P{fraction * 100:.15g}(nan,{value:.17g})" for fraction, value in zip(QUANTILES, values, strict=True)
    )


def render_json(store: StatsStore, *, wanted: re.Pattern[str] | None = None, used_only: bool = False) -> Iterator[str]:
    """Envoy's ``format=json``: a list of name and value, and one object with all histograms."""
    histograms: list[tuple[str, Histogram]] = []
    yield '{"stats":['
    separator = ""
    for row in rows(store, wanted=wanted, used_only=used_only):
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
        yield from _histograms(histograms)
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
