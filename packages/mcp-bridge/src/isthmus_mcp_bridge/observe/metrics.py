"""Counters and gauges in Prometheus' text exposition format (version 0.0.4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

MAX_SERIES = 1000
"""Label sets kept a family; more are added up under the label ``overflow="true"``."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LabelSet = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """The value of a gauge at the moment of asking."""

    name: str
    value: float
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Metrics:
    """All metrics of one bridge. Families are declared once, with their help text."""

    def __init__(self, counters: Mapping[str, str], gauges: Mapping[str, str]) -> None:
        """Both map a family's name to what it means."""
        self._help = {**counters, **gauges}
        self._counters: dict[str, dict[LabelSet, float]] = {name: {} for name in counters}
        self._gauges = dict(gauges)
        self._collectors: list[Callable[[], Iterable[Sample]]] = []

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a declared counter."""
        series = self._counters[name]
        key: LabelSet = tuple(sorted(labels.items()))
        if key not in series and len(series) >= MAX_SERIES:
            key = (("overflow", "true"),)
        series[key] = series.get(key, 0) + amount

    def value(self, name: str, **labels: str) -> float:
        """The value of a counter; 0 where nothing was counted."""
        return self._counters[name].get(tuple(sorted(labels.items())), 0)

    def collect_from(self, collector: Callable[[], Iterable[Sample]]) -> None:
        """Ask this for the values of gauges whenever the metrics are rendered."""
        self._collectors.append(collector)

    def render(self) -> str:
        """Everything as text, families and series sorted."""
        lines: list[str] = []
        samples = [sample for collector in self._collectors for sample in collector()]
        for name in sorted(self._help):
            counter = name in self._counters
            lines.append(f"# HELP {name} {self._help[name]}")
            lines.append(f"# TYPE {name} {'counter' if counter else 'gauge'}")
            series = self._counters[name] if counter else _series(samples, name)
            lines.extend(f"{name}{_labels(labels)} {_number(value)}" for labels, value in sorted(series.items()))
        return "\n".join(lines) + "\n"


def _series(samples: Iterable[Sample], name: str) -> dict[LabelSet, float]:
    return {tuple(sorted(sample.labels.items())): sample.value for sample in samples if sample.name == name}


def _number(value: float) -> str:
    """All digits, which counters need: a rounded one would seem to stand still."""
    return str(int(value)) if value == int(value) else repr(value)


def _labels(labels: LabelSet) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{key}="{escaped(value)}"' for key, value in labels) + "}" if labels else ""
