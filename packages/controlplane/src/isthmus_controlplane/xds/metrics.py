"""Counters of the xDS server, in the Prometheus text format."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterator, Mapping

from isthmus_controlplane.snapshot.resource_type import RESOURCE_TYPES
from isthmus_controlplane.xds.push import PushStatus

CONVERGENCE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_SHORT = {kind.type_url: kind.short for kind in RESOURCE_TYPES}

_HELP = {
    "responses": "Responses sent, by resource type.",
    "response_bytes": "Bytes of responses sent, by resource type.",
    "acks": "Responses that clients acknowledged, by resource type.",
    "nacks": "Responses that clients rejected, by resource type.",
    "stale_nonces": "Requests that answered a response which was not, or no longer, waited for, by resource type.",
    "streams": "Streams accepted, by variant.",
    "rejected_streams": "Streams that the server ended, by gRPC status.",
    "pushes": "Configuration pushes.",
    "pushes_rejected": "Configuration pushes that at least one client rejected.",
}


def type_label(type_url: str) -> str:
    """Return the metric label of a resource type; clients choose type URLs, so unknown ones share one label."""
    return _SHORT.get(type_url, "other")


class XdsMetrics:
    """Counts what the server does; every label has a fixed set of values."""

    def __init__(self) -> None:
        self._counters: dict[str, collections.Counter[tuple[str, str]]] = {
            name: collections.Counter() for name in _HELP
        }
        self._buckets = [0] * (len(CONVERGENCE_BUCKETS) + 1)
        self._convergence_sum = 0.0

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
        self._buckets[bisect.bisect_left(CONVERGENCE_BUCKETS, push.converged_after)] += 1
        self._convergence_sum += push.converged_after

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
        name = "isthmus_xds_convergence_seconds"
        yield f"# HELP {name} Time until every client acknowledged a push."
        yield f"# TYPE {name} histogram"
        seen = 0
        for bound, number in zip((*map(str, CONVERGENCE_BUCKETS), "+Inf"), self._buckets, strict=True):
            seen += number
            yield f'{name}_bucket{{le="{bound}"}} {seen}'
        yield f"{name}_sum {self._convergence_sum:.6f}"
        yield f"{name}_count {seen}"


def _gauges(gauges: Mapping[str, tuple[str, int]]) -> Iterator[str]:
    for name, (text, value) in gauges.items():
        full = f"isthmus_xds_{name}"
        yield f"# HELP {full} {text}"
        yield f"# TYPE {full} gauge"
        yield f"{full} {value}"
