"""Counters, gauges and histograms under Envoy's dotted names. The hot path adds to ``value``; everything else reads.

A scope owns the stats of one listener, HTTP connection manager or cluster and takes them along when it closes. Stats are
made when first asked for, so a cluster without traffic costs one small object; ``declare`` names those that are shown as
0 before they exist, without making them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from isthmus_proxy.observe import tags as tag_rules
from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats_settings import NO_SETTINGS, StatsSettings


class Counter:
    """A number that only grows. The data path does ``counter.value += 1``: no call, no lock (one thread)."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0


class TextReadout:
    """A text value, such as the version of an xDS update. Not part of Prometheus text, as in Envoy."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = ""


Metric = Counter | Gauge | Histogram | TextReadout
_Kind = TypeVar("_Kind", Counter, Gauge, Histogram, TextReadout)


class Catalog:
    """Names that a kind of scope always shows; one catalog is shared by all scopes of the kind."""

    __slots__ = ("counters", "gauges", "histograms")

    def __init__(
        self, counters: tuple[str, ...] = (), gauges: tuple[str, ...] = (), histograms: tuple[str, ...] = ()
    ) -> None:
        self.counters = counters
        self.gauges = gauges
        self.histograms = histograms

    def missing(self, present: Mapping[str, Metric]) -> Iterator[Metric]:
        """Fresh zero stats for the names that are not in ``present``."""
        for name in self.counters:
            if name not in present:
                yield Counter(name)
        for name in self.gauges:
            if name not in present:
                yield Gauge(name)
        for name in self.histograms:
            if name not in present:
                yield Histogram(name)


class Scope:
    """The stats below one prefix (``cluster.web``). Two owners of one prefix share it; the last ``close`` removes it."""

    __slots__ = ("_catalog", "_metrics", "_owners", "_provided", "_store", "_tags", "prefix")

    def __init__(self, store: StatsStore, prefix: str, tags: Mapping[str, str] | None) -> None:
        self.prefix = prefix
        self._store = store
        self._tags = tags
        self._owners = 1
        self._metrics: dict[str, Metric] = {}
        self._catalog: Catalog | None = None
        self._provided: Callable[[], Iterable[Gauge]] | None = None

    def counter(self, name: str) -> Counter:
        """The counter ``prefix.name``; made on first use. Raises TypeError if the name is a stat of another kind."""
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Counter(name)
        return _of_kind(metric, Counter)

    def gauge(self, name: str) -> Gauge:
        """The gauge ``prefix.name``; made on first use."""
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Gauge(name)
        return _of_kind(metric, Gauge)

    def histogram(self, name: str) -> Histogram:
        """The histogram of milliseconds ``prefix.name``; made on first use."""
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Histogram(name)
        return _of_kind(metric, Histogram)

    def text(self, name: str) -> TextReadout:
        """The text value ``prefix.name``; made on first use."""
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = TextReadout(name)
        return _of_kind(metric, TextReadout)

    def declare(self, catalog: Catalog) -> None:
        """Show the names of ``catalog`` as 0 until they are made."""
        self._catalog = catalog

    def provide(self, source: Callable[[], Iterable[Gauge]]) -> None:
        """Show gauges that are worked out when somebody looks, so that keeping them costs the data path nothing."""
        self._provided = source

    def metrics(self) -> Iterator[Metric]:
        """The stats of the scope that the settings show, declared and provided ones included; reading only."""
        shows = self._store.settings.shows
        if shows is None:
            return self.all_metrics()
        return iter([metric for metric in self.all_metrics() if shows(full_name(self, metric))])

    def all_metrics(self) -> Iterator[Metric]:
        """All stats of the scope, whatever the settings show."""
        yield from self._metrics.values()
        if self._provided is not None:
            yield from self._provided()
        if self._catalog is not None:
            yield from self._catalog.missing(self._metrics)

    def reset_counters(self) -> None:
        """Set the counters of the scope to 0."""
        for metric in self._metrics.values():
            if isinstance(metric, Counter):
                metric.value = 0

    def texts(self) -> Iterator[TextReadout]:
        """The text values of the scope."""
        found = [metric for metric in self._metrics.values() if isinstance(metric, TextReadout)]
        shows = self._store.settings.shows
        return iter(found if shows is None else [text for text in found if shows(full_name(self, text))])

    def numbers(self) -> Iterator[Metric]:
        """All others."""
        return (metric for metric in self.metrics() if not isinstance(metric, TextReadout))

    @property
    def tags(self) -> Mapping[str, str] | None:
        """The Prometheus labels that were given with the prefix."""
        return self._tags

    def extracted(self) -> tuple[str, tag_rules.Tags]:
        """The prefix without its label values, and the labels (for Prometheus)."""
        if not self._store.settings.default_tags:
            return self.prefix, ()
        if self._tags is None:
            return tag_rules.of_prefix(self.prefix)
        short = self.prefix
        for value in self._tags.values():
            short = short.replace(f".{value}", "", 1)
        return short, tuple(sorted((name.replace(".", "_"), value) for name, value in self._tags.items()))

    def close(self) -> None:
        """Give the scope up. Its stats leave the store with the last owner."""
        self._owners -= 1
        if self._owners == 0:
            self._store.forget(self)

    def join(self) -> None:
        """Become one more owner."""
        self._owners += 1


class StatsStore:
    """All scopes of the process, by prefix."""

    __slots__ = ("_scopes", "settings")

    def __init__(self, settings: StatsSettings = NO_SETTINGS) -> None:
        self.settings = settings
        self._scopes: dict[str, Scope] = {}

    def scope(self, prefix: str, tags: Mapping[str, str] | None = None) -> Scope:
        """The scope of ``prefix`` (``cluster.web``; no trailing dot), shared with its other owners.

        ``tags`` are Prometheus labels (``envoy_cluster_name``) whose values are parts of the prefix. Without them the
        labels of Envoy's well-known prefixes are found by name. A colon becomes an underscore, as in Envoy.
        """
        prefix = prefix.replace(":", "_")
        scope = self._scopes.get(prefix)
        if scope is not None:
            scope.join()
            return scope
        scope = self._scopes[prefix] = Scope(self, prefix, tags)
        return scope

    def scopes(self) -> list[Scope]:
        """All scopes, sorted by prefix."""
        return sorted(self._scopes.values(), key=lambda scope: scope.prefix)

    def forget(self, scope: Scope) -> None:
        """Drop a scope that has no owner; called by the scope itself."""
        if self._scopes.get(scope.prefix) is scope:
            del self._scopes[scope.prefix]

    def reset_counters(self) -> None:
        """Set every counter to 0; gauges and histograms stay, as in Envoy."""
        for scope in self._scopes.values():
            scope.reset_counters()

    def value(self, name: str) -> int | None:
        """Current value of the counter or gauge with the full dotted ``name``, or None if there is none."""
        for scope in self._scopes.values():
            if name.startswith(scope.prefix):
                for metric in scope.all_metrics():
                    if isinstance(metric, Counter | Gauge) and full_name(scope, metric) == name:
                        return metric.value
        return None


def full_name(scope: Scope, metric: Metric) -> str:
    """The dotted name under which ``metric`` is printed."""
    return f"{scope.prefix}.{metric.name}" if scope.prefix else metric.name


def _of_kind(metric: Metric, kind: type[_Kind]) -> _Kind:
    if not isinstance(metric, kind):
        message = f"stat {metric.name} is a {type(metric).__name__}, not a {kind.__name__}"
        raise TypeError(message)
    return metric
