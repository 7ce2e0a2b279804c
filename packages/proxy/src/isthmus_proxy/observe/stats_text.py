"""Stats as the text and the JSON of Envoy's ``/stats``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from isthmus_proxy.observe.histogram import QUANTILES, Histogram
from isthmus_proxy.observe.prometheus import is_used
from isthmus_proxy.observe.stats import Metric, StatsStore, TextReadout, full_name

_Row = tuple[str, Metric]


def rows(store: StatsStore, *, wanted: re.Pattern[str] | None, used_only: bool) -> tuple[list[_Row], list[_Row]]:
    """(plain stats, histograms), each sorted by full name; ``wanted`` must be found in the name."""
    plain: list[_Row] = []
    histograms: list[_Row] = []
    for scope in store.scopes():
        for metric in scope.metrics():
            name = full_name(scope, metric)
            if (wanted is None or wanted.search(name) is not None) and not (used_only and not is_used(metric)):
                (histograms if isinstance(metric, Histogram) else plain).append((name, metric))
    plain.sort(key=lambda row: (not isinstance(row[1], TextReadout), row[0]))
    histograms.sort(key=lambda row: row[0])
    return plain, histograms


def render_text(store: StatsStore, *, wanted: re.Pattern[str] | None = None, used_only: bool = False) -> Iterator[str]:
    """One line per stat; histograms last, with cumulative quantiles (no interval values are kept: they read ``nan``)."""
    plain, histograms = rows(store, wanted=wanted, used_only=used_only)
    for name, metric in plain:
        if isinstance(metric, TextReadout):
            yield f'{name}: "{metric.value}"\n'
        elif not isinstance(metric, Histogram):
            yield f"{name}: {metric.value}\n"
    for name, metric in histograms:
        if isinstance(metric, Histogram):
            yield f"{name}: {summary(metric)}\n"


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
    plain, histograms = rows(store, wanted=wanted, used_only=used_only)
    yield '{"stats":['
    separator = ""
    for name, metric in plain:
        if not isinstance(metric, Histogram):
            yield separator + json.dumps({"name": name, "value": metric.value}, separators=(",", ":"))
            separator = ","
    if histograms:
        yield separator + json.dumps({"histograms": _histograms(histograms)}, separators=(",", ":"))
    yield "]}"


def _histograms(histograms: list[_Row]) -> dict[str, object]:
    computed: list[dict[str, object]] = []
    for name, metric in histograms:
        if isinstance(metric, Histogram):
            values: list[float | None] = [*metric.quantiles()] or [None] * len(QUANTILES)
            computed.append({"name": name, "values": [{"interval": None, "cumulative": value} for value in values]})
    return {
        "supported_quantiles": [float(f"{fraction * 100:.15g}") for fraction in QUANTILES],
        "computed_quantiles": computed,
    }
