"""Counters of the xDS server, in the Prometheus text format."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterator, Mapping, Sequence

from isthmus_controlplane.snapshot.resource_type import RESOURCE_TYPES
from isthmus_controlplane.xds.push import PushStatus

CONVERGENCE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
QUEUE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)  # seconds
SIZE_BUCKETS = (256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)  # bytes
_SHORT = {kind.type_url: kind.short for kind in RESOURCE_TYPES}

_HELP = {
    "responses": "Responses sent, by resource type.",
    "response_bytes": "Bytes of responses sent, by resource type.",
    "acks": "Responses that clients acknowledged, by resource type.",
    "nacks": "Responses that clients rejected, by resource type.",
    "stale_nonces": "Requests that answered a response which was not, or no longer, waited for, by resource type.",
    "streams": "Streams accepted, by variant.",
    "rejected_streams": "Streams that the server ended, by gRPC status.",
    "polls": "Requests without a stream, by resource type.",
    "pushes": "Configuration pushes.",
    "pushes_rejected": "Configuration pushes that at least one client rejected.",
}


def type_label(type_url: str) -> str:
    """Return the metric label of a resource type; clients choose type URLs, so unknown ones share one label."""
    return _SHORT.get(type_url, "other")


class Histogram:
    """Counts observations by upper bounds."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        """Write it in the Prometheus text format."""
        yield f"# HELP {self._name} {self._text}"
        yield f"# TYPE {self._name} histogram"
        seen = 0
        for bound, number in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            seen += number
            yield f'{self._name}_bucket{{le="{bound}"}} {seen}'
        yield f"{self._name}_sum {self._sum:.6f}"
        yield f"{self._name}_count {seen}"


class XdsMetrics:
    """Counts what the server does; every label has a fixed set of values."""

    def __init__(self) -> None:
        self._counters: dict[str, collections.Counter[tuple[str, str]]] = {
            name: collections.Counter() for name in _HELP
        }
        self.convergence = Histogram(
            "isthmus_xds_convergence_seconds", "Time until every client acknowledged a push.", CONVERGENCE_BUCKETS
        )
        self.queue = Histogram(
            "isthmus_xds_queue_seconds", "Time from a publication until a client's response is written.", QUEUE_BUCKETS
        )
        self.sizes = Histogram("isthmus_xds_response_size_bytes", "Sizes of responses.", SIZE_BUCKETS)

    def count(self, name: str, label: str = "", value: str = "", by: int = 1) -> None:
        """Add to a counter; ``label`` and ``value`` name the series, both empty for a counter without labels."""
        self._counters[name][label, value] += by

    def total(self, name: str) -> int:
        """Return a counter's sum over its series."""
        return sum(self._counters[name].values())

    def observe_push(self, push: PushStatus) -> None:
        """Count a push whose last client answered; only those that reached someone tell a convergence time."""
        if push.rejected:
            self.count("pushes_rejected")
        if push.converged_after is None or not push.touched:
            return
        self.convergence.observe(push.converged_after)

    def text(self, gauges: Mapping[str, tuple[str, int]]) -> str:
        """Write everything in the Prometheus text exposition format 0.0.4; ``gauges`` adds (help, value) by name."""
        return "".join(f"{line}\n" for line in (*self._counter_lines(), *self._histogram_lines(), *_gauges(gauges)))

    def _counter_lines(self) -> Iterator[str]:
        for name, series in self._counters.items():
            full = f"isthmus_xds_{name}_total"
            yield f"# HELP {full} {_HELP[name]}"
            yield f"# TYPE {full} counter"
            for (label, value), number in sorted(series.items()):
                yield f'{full}{{{label}="{value}"}} {number}' if label else f"{full} {number}"

    def _histogram_lines(self) -> Iterator[str]:
        for histogram in (self.convergence, self.queue, self.sizes):
            yield from histogram.lines()


def _gauges(gauges: Mapping[str, tuple[str, int]]) -> Iterator[str]:
    for name, (text, value) in gauges.items():
        full = f"isthmus_xds_{name}"
        yield f"# HELP {full} {text}"
        yield f"# TYPE {full} gauge"
        yield f"{full} {value}"
