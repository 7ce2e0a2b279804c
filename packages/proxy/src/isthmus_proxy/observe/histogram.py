"""Latency histogram with log-linear buckets: 0.1 ms wide below 10 ms, then 90 buckets a decade (1 % to 10 % of the value).

These are the bucket edges of circllhist, which Envoy uses, so the quantiles read alike; Envoy records whole milliseconds,
this one a tenth. Recording is one index computation and one array increment, without allocation of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)
"""The quantiles that Envoy prints."""

BOUNDS = (
    *(0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0),
    *(30_000.0, 60_000.0, 300_000.0, 600_000.0, 1_800_000.0, 3_600_000.0),
)
"""Upper bounds, in milliseconds, of the cumulative buckets in Prometheus text (Envoy's defaults)."""

_LINEAR = 100  # buckets below 10 ms
_DECADE = 90
_DECADES = 6  # 10 ms up to 10^7 ms; longer values land in the last bucket
_SIZE = _LINEAR + _DECADE * _DECADES


class Histogram:
    """Counts of values in milliseconds; ``total`` is their exact sum. Memory grows with the largest decade seen."""

    __slots__ = ("counts", "name", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.total = 0.0
        self.counts = array("Q", bytes(8 * (_LINEAR + _DECADE)))

    def record(self, milliseconds: float, times: int = 1) -> None:
        """Count one value, or the same several ``times``; negative values (a clock that was set back) count as 0."""
        if milliseconds < 10.0:
            index = int(milliseconds * 10.0) if milliseconds > 0.0 else 0
        elif milliseconds < 100.0:
            index = _LINEAR - 10 + int(milliseconds)
        else:
            index = _far_index(milliseconds)
            if index >= len(self.counts):
                self._grow()
        self.counts[index] += times
        self.total += milliseconds if times == 1 else milliseconds * times

    def add(self, total: float, counts: Mapping[int, int]) -> None:
        """Take in what another histogram counted: the sum of its values, and its counts by bucket."""
        if counts and max(counts) >= len(self.counts):
            self._grow()
        for index, count in counts.items():
            self.counts[index] += count
        self.total += total

    def _grow(self) -> None:
        self.counts.frombytes(bytes(8 * (_SIZE - len(self.counts))))

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self.counts)

    def quantiles(self, wanted: Sequence[float] = QUANTILES) -> list[float]:
        """Values at ascending ``wanted`` fractions, interpolated inside a bucket as Envoy does; empty without samples."""
        total = self.count
        if not total:
            return []
        result: list[float] = []
        buckets = self.used()
        low, width, inside = next(buckets)
        below = 0
        for fraction in wanted:
            rank = max(1, -int(-fraction * total // 1))
            while rank > below + inside:
                below += inside
                low, width, inside = next(buckets)
            result.append(low + width * (rank - below) / (inside + 1))
        return result

    def cumulative(self, bounds: Sequence[float] = BOUNDS) -> list[int]:
        """How many values were at most each of the ascending ``bounds``."""
        result: list[int] = []
        buckets = self.used()
        seen = 0
        current = next(buckets, None)
        for bound in bounds:
            while current is not None and current[0] + current[1] <= bound * (1 + 1e-12):
                seen += current[2]
                current = next(buckets, None)
            result.append(seen)
        return result

    def used(self) -> Iterator[tuple[float, float, int]]:
        """(lower edge, width, count) of every bucket that is not empty, ascending."""
        for index, count in enumerate(self.counts):
            if count:
                low, width = bucket(index)
                yield low, width, count


def bucket(index: int) -> tuple[float, float]:
    """Lower edge and width, in milliseconds, of bucket ``index``."""
    if index < _LINEAR:
        return index / 10, 0.1
    decade, offset = divmod(index - _LINEAR, _DECADE)
    width = 10.0**decade
    return (10 + offset) * width, width


def _far_index(milliseconds: float) -> int:
    index = _LINEAR + _DECADE
    scaled = milliseconds / 10.0
    while scaled >= 100.0:
        scaled /= 10.0
        index += _DECADE
    return min(index + int(scaled) - 10, _SIZE - 1)
