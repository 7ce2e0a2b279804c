"""What happened to the requests of a load: counts per version and status, failures with their reasons, a latency histogram."""

import math
from collections import Counter, deque
from dataclasses import dataclass, field

FAILURES_KEPT = 1000
_GROWTH = math.log(1.05)  # each latency bucket is 5% wider than the one before it
_SMALLEST_S = 1e-5
_BUCKETS = 400  # reaches far beyond any timeout


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed request."""

    at: float
    """When it failed, as ``time.time()``."""
    phase: str
    reason: str
    """For a response: status and the start of its body; else what the connection did."""
    instance: str
    """Who answered, empty when nobody did."""


class Latencies:
    """A histogram of seconds with a relative error of 5%."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0

    def record(self, seconds: float) -> None:
        """Count one request."""
        index = int(math.log(seconds / _SMALLEST_S) / _GROWTH) if seconds > _SMALLEST_S else 0
        self._buckets[min(index, _BUCKETS - 1)] += 1
        self.count += 1

    def quantile(self, q: float) -> float:
        """The latency in seconds that a share ``q`` of the requests did not exceed; 0 when there were none."""
        rank = q * self.count
        seen = 0
        for index, number in enumerate(self._buckets):
            seen += number
            if number and seen >= rank:
                return _SMALLEST_S * math.exp((index + 1) * _GROWTH)
        return 0.0

    def since(self, earlier: "Latencies") -> "Latencies":
        """What this one counted more than an earlier state of it."""
        difference = Latencies()
        difference._buckets = [now - then for now, then in zip(self._buckets, earlier._buckets, strict=True)]
        difference.count = self.count - earlier.count
        return difference

    def add(self, other: "Latencies") -> None:
        """Count everything that the other one counted."""
        self._buckets = [mine + theirs for mine, theirs in zip(self._buckets, other._buckets, strict=True)]
        self.count += other.count


@dataclass(slots=True)
class Tally:
    """The requests of one phase, by what became of them. Only the load's own thread changes it."""

    requests: int = 0
    failed: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, other: "Tally") -> None:
        """Count everything that the other one counted."""
        self.requests += other.requests
        self.failed += other.failed
        self.statuses.update(other.statuses)
        self.versions.update(other.versions)
        self.instances.update(other.instances)
        self.failures.extend(other.failures)
        self.latencies.add(other.latencies)

    def share(self, version: str) -> float:
        """The share of a version among the answers that named one."""
        total = self.versions.total()
        return self.versions[version] / total if total else 0.0
