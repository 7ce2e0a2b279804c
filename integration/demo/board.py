"""What the audience sees, as data: the loads, the acts and events so far, the convergence of pushes, the checks."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from demo.pushes import Push
from harness.load import Load
from harness.tally import Latencies, Tally

EVENTS_KEPT = 200
PUSHES_KEPT = 50
CHECKS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Rates:
    """One load during the last interval."""

    per_second: float
    shares: Mapping[str, float]
    failed: int
    """Since the start."""
    p50_s: float
    p99_s: float


class Meter:
    """Turns the growing counts of a load into rates, by remembering the last look."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._at = time.monotonic()
        self._last = Tally()

    def read(self) -> Rates:
        """The rates since the previous call."""
        now, total = time.monotonic(), self._load.total()
        seconds, last = max(now - self._at, 1e-6), self._last
        self._at, self._last = now, total
        versions = total.versions - last.versions
        latencies: Latencies = total.latencies.since(last.latencies)
        answered = versions.total() or 1
        return Rates(
            per_second=(total.requests - last.requests) / seconds,
            shares={name: number / answered for name, number in sorted(versions.items())},
            failed=total.failed,
            p50_s=latencies.quantile(0.5),
            p99_s=latencies.quantile(0.99),
        )


@dataclass(slots=True)
class Board:
    """The script writes, a screen reads (from another thread) or listens."""

    loads: dict[str, Load] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    act: str = "starting"
    events: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    pushes: deque[tuple[str, Push]] = field(default_factory=lambda: deque(maxlen=PUSHES_KEPT))
    checks: deque[Check] = field(default_factory=lambda: deque(maxlen=CHECKS_KEPT))
    failed_checks: int = 0
    listener: Callable[[str], None] = print
    started: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def begin(self, act: str) -> None:
        """A new act."""
        self.act = act
        self.say(f"== {act}")

    def say(self, text: str) -> None:
        """Something happened."""
        with self.lock:
            self.events.append((self.elapsed(), text))
        self.listener(text)

    def pushed(self, act: str, push: Push) -> None:
        """A push has converged."""
        with self.lock:
            self.pushes.append((act, push))
        took = 1000 * (push.converged_after or 0)
        self.say(f"push {push.id} ({push.cause}): all {push.touched} clients acknowledged after {took:.0f} ms")

    def check(self, name: str, passed: bool, detail: str) -> None:
        """Something had to hold, and did or did not."""
        with self.lock:
            self.checks.append(Check(name, passed, detail))
            self.failed_checks += not passed
        self.say(f"{'ok' if passed else 'FAILED'}: {name}: {detail}")

    @property
    def passed(self) -> bool:
        """Whether everything held that had to."""
        return not self.failed_checks
