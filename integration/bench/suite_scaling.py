"""Suite ``scaling``: what a request costs as the configuration grows: routes by exact path or by prefix, and clusters.

No two requests are the same, so nothing that is remembered of whole requests helps; they are spread evenly over the routes. The
sizes of one kind run at the same time and are loaded in turn, in short slices, so that all meet the same machine.
``vs_smallest_pct`` compares the processor time of a request with that of the smallest size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import origin
from bench.http_plan import HttpPlan
from bench.load.wrk import WrkReport, wrk
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.http import SUBJECTS, Running
from harness.ports import free_port

NAME = "scaling"
CONNECTIONS = 32
SLICES = 4
PROXY_CPU, LOAD_CPU = "0", "1"
WARM_UP_S = 1.0
SIZES = {"exact": (10, 5000), "prefix": (10, 5000), "clusters": (10, 10_000)}


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(f"{kind}-{size}" for kind, sizes in SIZES.items() for size in sizes)


def subjects() -> tuple[str, ...]:
    """Those that run the same file."""
    return tuple(name for name in SUBJECTS if name.startswith("isthmus") or name == "envoy")


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def plan_of(case: str, origin_port: int, folder: Path) -> HttpPlan:
    """The configuration of a case."""
    kind, _, size = case.partition("-")
    services = {"exact": int(size), "prefix": int(size), "clusters": 10}[kind]
    return HttpPlan(
        free_port(),
        free_port(),
        origin_port,
        folder,
        clusters=int(size) if kind == "clusters" else 0,
        services=services,
        match="path" if kind == "exact" else "prefix",
    )


@dataclass(slots=True)
class _Load:
    """One size under load: its process, and what its slices added up to."""

    running: Running
    services: int
    reports: list[WrkReport] = field(default_factory=list)
    cpu: float = 0.0

    def run(self, seconds: float) -> WrkReport:
        """Load it."""
        url = f"http://127.0.0.1:{self.running.port}/100b"
        return wrk(url, CONNECTIONS, seconds, cpus=LOAD_CPU, services=self.services)

    def slice(self, seconds: float) -> None:
        """Load it, and count."""
        before = cpu_seconds(self.running.pids)
        self.reports.append(self.run(seconds))
        self.cpu += cpu_seconds(self.running.pids) - before

    @property
    def requests(self) -> int:
        """Answered in all slices."""
        return sum(report.requests for report in self.reports)

    @property
    def cpu_us(self) -> float:
        """Processor time of one request."""
        return self.cpu / max(1, self.requests) * 1e6


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject, kind by kind."""
    with ExitStack() as stack:
        port = stack.enter_context(origin.origin(folder, LOAD_CPU))
        for kind in SIZES:
            chosen = [case for case in wanted if case.startswith(kind)]
            yield from _measure_kind(subject, chosen, seconds, folder, port)


def _measure_kind(
    subject: str, chosen: list[str], seconds: float, folder: Path, origin_port: int
) -> Iterator[tuple[str, Sample]]:
    loads: dict[str, _Load] = {}
    try:
        for case in chosen:
            place = folder / case
            place.mkdir()
            plan = plan_of(case, origin_port, place)
            loads[case] = _Load(SUBJECTS[subject](plan, PROXY_CPU), plan.services)
            loads[case].run(WARM_UP_S)
        for number in range(SLICES):
            for case in chosen if number % 2 else reversed(chosen):
                loads[case].slice(max(1.0, seconds / SLICES))
        for case, load in loads.items():
            yield case, _sample(load, loads[chosen[0]])
    finally:
        for load in loads.values():
            load.running.stop()


def _sample(load: _Load, smallest: _Load) -> Sample:
    return Sample(
        rps=load.requests / sum(report.seconds for report in load.reports),
        cpu_us_per_request=load.cpu_us,
        p50_us=sorted(report.p50_us for report in load.reports)[len(load.reports) // 2],
        p99_us=max(report.p99_us for report in load.reports),
        rss_mb=memory(load.running.pids).rss_mb,
        errors=sum(report.errors for report in load.reports),
        extra={"vs_smallest_pct": (load.cpu_us / smallest.cpu_us - 1) * 100},
    )
