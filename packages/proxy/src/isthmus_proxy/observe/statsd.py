"""Stats as lines of statsd and DogStatsD: counters as what was added since the last time, gauges as they are. Pure.

Envoy sends a timer for each value of a histogram. Here values are counted in buckets: for each bucket that grew, one line with
its middle and a sample rate tells a server as many values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isthmus_proxy.observe.histogram import Histogram, bucket
from isthmus_proxy.observe.stats import Counter, Gauge, Metric, Scope, StatsStore, full_name
from isthmus_proxy.observe.tags import of_name

DATAGRAM_BYTES = 1400
"""Lines are joined up to this size over UDP unless the configuration says otherwise: fits an Ethernet frame."""


@dataclass(frozen=True, slots=True)
class StatsdConfig:
    """Where and how often (``interval``, seconds): a UDP address, or a TCP connection to ``cluster``. ``tagged``: DogStatsD.

    ``datagram_bytes`` 0: one line in each datagram, as Envoy does.
    """

    host: str
    port: int
    cluster: str
    prefix: str = "envoy"
    interval: float = 5.0
    tagged: bool = False
    datagram_bytes: int = 0


class StatsdLines:
    """Remembers what was told of each counter and histogram; those that are gone are forgotten."""

    def __init__(self, prefix: str, *, tagged: bool) -> None:
        self._prefix = prefix
        self._tagged = tagged
        self._counted: dict[str, int] = {}
        self._buckets: dict[str, dict[int, int]] = {}

    def take(self, store: StatsStore) -> Iterator[str]:
        """The lines of one flush, in pieces: an empty one after each scope, so that others may have their turn."""
        counted, buckets = self._counted, self._buckets
        self._counted, self._buckets = {}, {}
        for scope in store.scopes():
            yield ""
            for metric in scope.metrics():
                name = full_name(scope, metric)
                if isinstance(metric, Counter):
                    self._counted[name] = metric.value
                    delta = metric.value - counted.get(name, 0)
                    if metric.value:
                        # After /reset_counters what is counted is all there is.
                        yield self._line(scope, metric, f"{delta if delta >= 0 else metric.value}|c")
                elif isinstance(metric, Gauge):
                    if metric.value:
                        yield self._line(scope, metric, f"{metric.value}|g")
                elif isinstance(metric, Histogram):
                    yield from self._timers(scope, metric, name, buckets.get(name, {}))

    def _timers(self, scope: Scope, metric: Histogram, name: str, before: dict[int, int]) -> Iterator[str]:
        now = self._buckets[name] = {index: count for index, count in enumerate(metric.counts) if count}
        for index, count in now.items():
            more = count - before.get(index, 0)
            if more > 0:
                low, width = bucket(index)
                rate = f"|@{1 / more:.6g}" if more > 1 else ""
                yield self._line(scope, metric, f"{low + width / 2:.6g}|ms{rate}")

    def _line(self, scope: Scope, metric: Metric, value: str) -> str:
        if not self._tagged:
            return f"{self._prefix}.{full_name(scope, metric)}:{value}"
        short, tags = scope.extracted()
        stem, code = of_name(metric.name)
        name = f"{short}.{stem}" if short else stem
        labels = ",".join(f"{dotted(label)}:{_clean(text)}" for label, text in (*code, *tags))
        return f"{self._prefix}.{name}:{value}{f'|#{labels}' if labels else ''}"


def dotted(label: str) -> str:
    """Envoy's name of a tag: ``envoy.cluster_name`` where Prometheus says ``envoy_cluster_name``."""
    return f"envoy.{label[6:]}" if label.startswith("envoy_") else label


def _clean(text: str) -> str:
    """A tag value without what would end it or the line."""
    return text.translate({ord("|"): "_", ord(","): "_", ord("\n"): "_"})


def datagrams(lines: Iterator[str], most: int) -> Iterator[bytes]:
    """Lines in datagrams of at most ``most`` bytes, each line alone if that is 0; empty ones are passed on as they come."""
    waiting = ""
    for line in lines:
        if not line:
            yield b""
        elif waiting and len(waiting) + 1 + len(line) <= most:
            waiting = f"{waiting}\n{line}"
        else:
            if waiting:
                yield waiting.encode()
            waiting = line
    if waiting:
        yield waiting.encode()
