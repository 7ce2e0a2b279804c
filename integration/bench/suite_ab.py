"""Suite ``ab``: the experiment of the system that this one reproduces: what sidecars on both sides cost a service, by its business cost.

Load, caller, [sidecar, sidecar,] callee, at a fixed open-loop rate. Caller, callee and sidecars share one core, which stands for
the node; the load has the other. ``business-*`` burn that much processor time per request in the caller. ``sdk-100-10-1*`` is the
model business : SDK : call = 100 : 10 : 1 with 0.2 ms, about what a plain call costs here, as the unit: 20 ms of business and,
without sidecars, 2 ms of SDK work; with sidecars that work is the route table of the caller's sidecar (1,000 rules with header
conditions). In ``sdk-100-10-1-uncached`` a header that the rules read differs in every request, so that no remembered decision
fits: the routing cache of a proxy that has one is as good as off.

``cpu_us_per_request``, ``rss_mb`` and the ``cpu_*`` figures are those of the whole node. ``*_vs_direct_pct`` compare with the same
node without sidecars, measured before and after in the same round.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.load.openloop import OpenLoopReport, openloop
from bench.nodecpu import NodeCpu
from bench.procstat import Memory, memory
from bench.result import Sample
from bench.subjects.ab import SUBJECTS, Costs, node

NAME = "ab"
NODE_CPU, LOAD_CPU = "0", "1"
CONNECTIONS = 8
SDK = Costs(20_000, sdk_us=2_000, rules=1000)
# With its requests per second: the node has room for the sidecars in every case.
CASES = {
    "business-0": (Costs(0), 300.0),
    "business-100us": (Costs(100), 300.0),
    "business-1ms": (Costs(1000), 200.0),
    "business-10ms": (Costs(10_000), 40.0),
    "sdk-100-10-1": (SDK, 20.0),
    "sdk-100-10-1-uncached": (SDK, 20.0),
}


def cases() -> tuple[str, ...]:
    """All case names."""
    return tuple(CASES)


def subjects() -> tuple[str, ...]:
    """``direct`` is the node without sidecars."""
    return SUBJECTS


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


@dataclass(frozen=True, slots=True)
class _Run:
    report: OpenLoopReport
    rate: float
    cpu: NodeCpu
    node: Memory
    sidecars: Memory


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject over the wanted cases, each in fresh processes."""
    for case in wanted:
        runs = []
        order = ["direct"] if subject == "direct" else ["direct", subject, "direct"]
        for number, each in enumerate(order):
            place = folder / f"{case}-{number}"
            place.mkdir()
            runs.append(_run(each, case, seconds if each == subject else seconds / 2, place))
        yield case, _sample(runs[len(runs) // 2], runs[::2] if len(runs) > 1 else [], seconds)


def _run(subject: str, case: str, seconds: float, folder: Path) -> _Run:
    uncached = case.endswith("uncached")
    unique = "X-Request-Key" if uncached else ""
    costs, rate = CASES[case]
    with node(subject, costs, folder, NODE_CPU) as running:
        url = f"http://127.0.0.1:{running.port}/"
        pids = [*running.applications, *running.sidecars]
        # The load's own first second is a warm-up; this one comes before, so that the processor time is that of a warm node.
        openloop(url, CONNECTIONS, rate, 0.5, cpus=LOAD_CPU, header="X-Zone: zone-7", unique_header=unique)
        with NodeCpu(pids) as cpu:
            report = openloop(
                url, CONNECTIONS, rate, seconds, cpus=LOAD_CPU, header="X-Zone: zone-7", unique_header=unique
            )
        return _Run(report, rate, cpu, memory(pids), memory(running.sidecars))


def _sample(run: _Run, direct: list[_Run], seconds: float) -> Sample:
    extra = {
        "cpu_mean_pct": run.cpu.mean * 100,
        "cpu_peak_pct": run.cpu.peak * 100,
        "rt_mean_us": run.report.mean_us,
    }
    if direct:
        extra["cpu_mean_vs_direct_pct"] = _growth(run.cpu.mean, [each.cpu.mean for each in direct])
        extra["cpu_peak_vs_direct_pct"] = _growth(run.cpu.peak, [each.cpu.peak for each in direct])
        extra["rt_mean_vs_direct_pct"] = _growth(run.report.mean_us, [each.report.mean_us for each in direct])
        extra["rt_p50_vs_direct_pct"] = _growth(run.report.p50_us, [each.report.p50_us for each in direct])
        extra["added_rt_p50_us"] = run.report.p50_us - statistics.fmean(each.report.p50_us for each in direct)
        extra["sidecar_rss_mb"] = run.sidecars.rss_mb / 2
        extra["sidecar_private_mb"] = run.sidecars.private_mb / 2
    return Sample(
        rps=run.report.requests / seconds,
        cpu_us_per_request=run.cpu.mean / run.rate * 1e6,
        p50_us=run.report.p50_us,
        p99_us=run.report.p99_us,
        rss_mb=run.node.rss_mb,
        errors=run.report.errors,
        extra=extra,
    )


def _growth(value: float, before: list[float]) -> float:
    """How much larger a value is than the mean of others, percent."""
    return (value / statistics.fmean(before) - 1) * 100
