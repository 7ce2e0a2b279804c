"""Suite ``latency``: one keep-alive connection, open loop at a low and a medium rate; what a proxy adds to ``direct``.

``added_p50_us`` and ``added_p99_us`` are the subject's percentiles less those of ``direct`` in the same round: the suite
measures the origin itself right before and after each subject and takes the lower of the two, since the machine's speed drifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import origin
from bench.http_plan import HttpPlan
from bench.load.openloop import OpenLoopReport, openloop
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.http import BUSY_POLLING
from bench.subjects.http import SUBJECTS as PROXIES
from harness.ports import free_port

NAME = "latency"
RATES = {"c1-low": 200.0, "c1-medium": 1000.0}  # requests per second; the medium rate is below what any subject can do
PROXY_CPU, LOAD_CPU = "0", "1"
SUBJECTS = PROXIES | BUSY_POLLING


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(RATES)


def subjects() -> tuple[str, ...]:
    """All subjects of the suite."""
    return tuple(SUBJECTS)


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject over the wanted cases."""
    with origin.origin(folder, LOAD_CPU) as port:
        running = SUBJECTS[subject](HttpPlan(free_port(), free_port(), port, folder), PROXY_CPU)
        try:
            for case in wanted:
                direct = [_load(port, case, seconds / 2)]
                pids = running.pids
                before = cpu_seconds(pids)
                report = _load(running.port, case, seconds)
                cpu = cpu_seconds(pids) - before
                direct.append(_load(port, case, seconds / 2))
                yield case, _sample(report, direct, cpu, pids, seconds)
        finally:
            running.stop()


def _load(port: int, case: str, seconds: float) -> OpenLoopReport:
    return openloop(f"http://127.0.0.1:{port}/100b", 1, RATES[case], seconds, cpus=LOAD_CPU)


def _sample(
    report: OpenLoopReport, direct: list[OpenLoopReport], cpu: float, pids: list[int], seconds: float
) -> Sample:
    # the processor time covers the warm-up second too, so it is spread over all requests that were sent
    sent = report.requests * (seconds + 1) / seconds
    added = {
        "added_p50_us": report.p50_us - min(d.p50_us for d in direct),
        "added_p99_us": report.p99_us - min(d.p99_us for d in direct),
    }
    return Sample(
        rps=report.requests / seconds,
        cpu_us_per_request=cpu / max(1.0, sent) * 1e6 if pids else None,
        p50_us=report.p50_us,
        p99_us=report.p99_us,
        rss_mb=memory(pids).rss_mb if pids else None,
        errors=report.errors,
        extra=added if pids else {},
    )
