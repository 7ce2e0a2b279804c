"""What a benchmark measures of one subject in one round, and how rounds are summed up."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One subject, one case, one round. None = the suite does not measure it.

    ``cpu_us_per_request`` is the processor time of the subject's processes alone, from the kernel's accounting, over the
    requests of the round. ``rss_mb`` is their resident memory at the end of the round (MiB).
    """

    rps: float | None = None
    cpu_us_per_request: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    rss_mb: float | None = None
    errors: int = 0
    extra: dict[str, float] = field(default_factory=dict)


METRICS = tuple(f.name for f in fields(Sample) if f.name not in {"errors", "extra"})


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of a subject's rounds in one case, with their spread (lowest and highest)."""

    suite: str
    case: str
    subject: str
    samples: tuple[Sample, ...]

    def _values(self, metric: str) -> list[float]:
        if metric in METRICS:
            return [v for s in self.samples if (v := getattr(s, metric)) is not None]
        return [s.extra[metric] for s in self.samples if metric in s.extra]

    def median(self, metric: str) -> float | None:
        """Median over the rounds, or None where the suite does not measure it."""
        values = self._values(metric)
        return statistics.median(values) if values else None

    def spread(self, metric: str) -> tuple[float, float] | None:
        """Lowest and highest value over the rounds."""
        values = self._values(metric)
        return (min(values), max(values)) if values else None

    @property
    def errors(self) -> int:
        """Failed requests over all rounds."""
        return sum(s.errors for s in self.samples)

    @property
    def extras(self) -> list[str]:
        """Names of the figures that only this suite has."""
        return sorted({name for s in self.samples for name in s.extra})

    def as_json(self) -> dict[str, object]:
        """The object that tools read: one a subject and case, medians, and the spread beside them."""
        names = [*METRICS, *self.extras]
        body: dict[str, object] = {"suite": self.suite, "case": self.case, "subject": self.subject}
        body |= {name: _rounded(self.median(name)) for name in names}
        body["errors"] = self.errors
        body["rounds"] = len(self.samples)
        body["spread"] = {
            name: [_rounded(low), _rounded(high)]
            for name in names
            if (found := self.spread(name)) is not None
            for low, high in [found]
        }
        return body


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that a share of an ordered sequence does not exceed; 0 when it is empty."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def write_json(path: Path, results: Iterable[Result], machine: dict[str, object]) -> None:
    """Write one JSON object a line, each with the machine on which it was measured."""
    lines = [json.dumps(result.as_json() | {"machine": machine}) for result in results]
    path.write_text("\n".join(lines) + "\n")


def read_json(path: Path) -> tuple[list[Result], dict[str, object]]:
    """Results of an earlier run and its machine. Their samples are its lowest, median and highest figures, not its rounds."""
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    return [_from_json(body) for body in bodies], bodies[0]["machine"] if bodies else {}


def _from_json(body: dict[str, Any]) -> Result:
    samples = []
    for place in (0, None, 1):
        figures = {name: body[name] if place is None else span[place] for name, span in body["spread"].items()}
        known = {name: value for name, value in figures.items() if name in METRICS}
        extra = {name: value for name, value in figures.items() if name not in METRICS}
        samples.append(Sample(**known, errors=body["errors"] if place is None else 0, extra=extra))
    return Result(body["suite"], body["case"], body["subject"], tuple(samples))


def cases_of(results: Sequence[Result]) -> list[str]:
    """The cases, in the order in which they were measured."""
    return list(dict.fromkeys(result.case for result in results))
