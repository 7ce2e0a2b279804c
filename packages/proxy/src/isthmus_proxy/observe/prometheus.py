"""Stats as Prometheus text (exposition format 0.0.4) under the names and labels that Envoy gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from isthmus_proxy.observe.histogram import BOUNDS, Histogram
from isthmus_proxy.observe.stats import Counter, Gauge, Metric, Scope, StatsStore, full_name
from isthmus_proxy.observe.tags import Tags, of_name

_INVALID = re.compile(r"[^a-zA-Z0-9_]")
_Series = tuple[Tags, Metric]


def render(store: StatsStore, *, wanted: re.Pattern[str] | None = None, used_only: bool = False) -> Iterator[str]:
    """The text in small pieces, some of them empty: whoever sends it can give others a turn after each.

    ``wanted`` must be found in the dotted name; ``used_only`` leaves out what is 0.
    """
    families: dict[tuple[str, type[Metric]], list[_Series]] = {}
    for scope in store.scopes():
        yield ""
        _collect(families, scope, wanted, used_only=used_only)
    for kind in (Counter, Gauge, Histogram):
        for name in sorted(name for name, of_kind in families if of_kind is kind):
            yield f"# TYPE {name} {kind.__name__.lower()}\n"
            yield from _lines(name, families[name, kind])


def _collect(
    families: dict[tuple[str, type[Metric]], list[_Series]],
    scope: Scope,
    wanted: re.Pattern[str] | None,
    *,
    used_only: bool,
) -> None:
    short, labels = scope.extracted()
    for metric in scope.metrics():
        if wanted is not None and wanted.search(full_name(scope, metric)) is None:
            continue
        if used_only and not is_used(metric):
            continue
        stem, code = of_name(metric.name)
        name = _INVALID.sub("_", f"envoy.{short}.{stem}" if short else f"envoy.{stem}")
        families.setdefault((name, type(metric)), []).append((code + labels, metric))


def is_used(metric: Metric) -> bool:
    """Whether a stat was ever changed from its initial value (as far as its value tells)."""
    return bool(metric.count if isinstance(metric, Histogram) else metric.value)


def _lines(name: str, series: list[_Series]) -> Iterator[str]:
    for tags, metric in series:
        labels = ",".join(f'{label}="{escape(value)}"' for label, value in tags)
        if isinstance(metric, Histogram):
            yield from _histogram_lines(name, labels, metric)
        elif isinstance(metric, Counter | Gauge):
            yield f"{name}{{{labels}}} {metric.value}\n"


def _histogram_lines(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    comma = "," if labels else ""
    count = histogram.count
    for bound, below in zip(BOUNDS, histogram.cumulative(), strict=True):
        yield f'{name}_bucket{{{labels}{comma}le="{bound:.15g}"}} {below}\n'
    yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {count}\n'
    yield f"{name}_sum{{{labels}}} {histogram.total:.17g}\n"
    yield f"{name}_count{{{labels}}} {count}\n"


def escape(value: str) -> str:
    """A label value with backslash, quote and line feed escaped (exposition format)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
