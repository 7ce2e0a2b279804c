"""Suite ``bolt``: SOFARPC's protocol. Closed loop ``8x1``, ``8x64`` and ``200x1`` (connections x requests in flight on each), and
``release``: 2000 requests a second over 200 connections, 1 kB of content and header each, the load of MOSN's release reports.

``rules-10`` and ``rules-5000`` are ``8x64`` with that many routes before the one that serves: what the memo of plans is for. The same
with ``-uncached`` behind the name have that memo switched off (``route_cache: false``).
The proxy has one core to itself; load and origin share the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.bolt_plan import BoltPlan
from bench.load.bolt import BoltReport, bolt_origin, boltload
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.bolt import SUBJECTS
from harness.ports import free_port

NAME = "bolt"
CASES = {
    "8x1": (8, 1),
    "8x64": (8, 64),
    "200x1": (200, 1),
    "release": (200, 1),
    "rules-10": (8, 64),
    "rules-5000": (8, 64),
    "rules-10-uncached": (8, 64),
    "rules-5000-uncached": (8, 64),
}
Rules = tuple[int, bool]
RULES: dict[str, Rules] = {
    "rules-10": (10, True),
    "rules-5000": (5000, True),
    "rules-10-uncached": (10, False),
    "rules-5000-uncached": (5000, False),
}
"""How many rules a case has, and whether plans are remembered."""
NO_RULES: Rules = (0, True)
RELEASE_RATE, RELEASE_BODY, BODY = 2000.0, 880, 100
PROXY_CPU, LOAD_CPU = "0", "1"


def cases() -> tuple[str, ...]:
    """All case names, in the order in which they run."""
    return tuple(CASES)


def subjects() -> tuple[str, ...]:
    """All subjects of the suite."""
    return tuple(SUBJECTS)


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case."""
    if subject == "isthmus-busy-poll" and case != "release":
        return "under load it never sleeps anyway"
    return "routes are Isthmus's own here" if case in RULES and not subject.startswith("isthmus") else ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject over the wanted cases."""
    with bolt_origin(LOAD_CPU) as port:
        for rules in sorted({RULES.get(case, NO_RULES) for case in wanted}):
            plan = BoltPlan(free_port(), free_port(), port, folder, *rules)
            running = SUBJECTS[subject](plan, PROXY_CPU)
            try:
                for case in wanted:
                    if RULES.get(case, NO_RULES) == rules:
                        pids = running.pids
                        before = cpu_seconds(pids)
                        report = _load(running.port, case, seconds)
                        yield case, _sample(report, cpu_seconds(pids) - before, pids)
            finally:
                running.stop()


def _load(port: int, case: str, seconds: float) -> BoltReport:
    connections, outstanding = CASES[case]
    if case == "release":
        return boltload(port, connections, 1, seconds, body=RELEASE_BODY, rate=RELEASE_RATE, cpus=LOAD_CPU)
    return boltload(port, connections, outstanding, seconds, body=BODY, cpus=LOAD_CPU)


def _sample(report: BoltReport, cpu: float, pids: list[int]) -> Sample:
    # the processor time covers the warm-up second too, so it is spread over all requests that were sent
    sent = report.requests * (report.seconds + 1) / report.seconds
    return Sample(
        rps=report.requests / report.seconds,
        cpu_us_per_request=cpu / max(1.0, sent) * 1e6 if pids else None,
        p50_us=report.p50_us,
        p99_us=report.p99_us,
        rss_mb=memory(pids).rss_mb if pids else None,
        errors=report.errors,
        extra={"mean_us": report.mean_us, "p90_us": report.p90_us, "p95_us": report.p95_us},
    )
