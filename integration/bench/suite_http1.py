"""Suite ``http1``: closed loop, 1, 32 and 256 keep-alive connections, bodies of 100 B, 10 kB and 1 MB.

The proxy has one core to itself; load and origin share the others. With ``observed`` every subject writes an access log
and keeps its stats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import origin
from bench.http_plan import HttpPlan
from bench.load.wrk import wrk
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.http import SUBJECTS, Running
from harness.ports import free_port

NAME = "http1"
CONNECTIONS = (1, 32, 256)
CASES = tuple(f"c{connections}-{body}" for body in origin.BODIES for connections in CONNECTIONS)
OBSERVED_CASES = tuple(f"{case}-observed" for case in CASES if case.endswith("100b"))
PROXY_CPU, LOAD_CPU = "0", "1"
WARM_UP_S = 1.0


def cases() -> tuple[str, ...]:
    """All case names, in the order in which they run."""
    return CASES + OBSERVED_CASES


def subjects() -> tuple[str, ...]:
    """All subjects of the suite."""
    return tuple(SUBJECTS)


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject: start it, warm it up, measure each case, stop it."""
    with ExitStack() as stack:
        port = stack.enter_context(origin.origin(folder, LOAD_CPU))
        for observed in (False, True):
            chosen = [case for case in wanted if case.endswith("-observed") == observed]
            if chosen:
                yield from _measure_configured(subject, chosen, observed, seconds, folder, port)


def _measure_configured(
    subject: str, chosen: list[str], observed: bool, seconds: float, folder: Path, origin_port: int
) -> Iterator[tuple[str, Sample]]:
    plan = HttpPlan(free_port(), free_port(), origin_port, folder, observed=observed)
    running = SUBJECTS[subject](plan, PROXY_CPU)
    try:
        for case in chosen:
            yield case, _measure_case(running, case, seconds)
    finally:
        running.stop()


def _measure_case(running: Running, case: str, seconds: float) -> Sample:
    connections, body = case.removesuffix("-observed").split("-")
    url = f"http://127.0.0.1:{running.port}/{body}"
    count = int(connections.removeprefix("c"))
    wrk(url, count, WARM_UP_S, cpus=LOAD_CPU)
    pids = running.pids
    before = cpu_seconds(pids)
    report = wrk(url, count, seconds, cpus=LOAD_CPU)
    cpu = cpu_seconds(pids) - before
    size = origin.BODIES[body]
    return Sample(
        rps=report.requests / report.seconds,
        cpu_us_per_request=cpu / max(1, report.requests) * 1e6 if pids else None,
        p50_us=report.p50_us,
        p99_us=report.p99_us,
        rss_mb=memory(pids).rss_mb if pids else None,
        errors=report.errors,
        extra={"mb_per_s": report.requests * size / report.seconds / 1e6} if size >= 10_000 else {},
    )
