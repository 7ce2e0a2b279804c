"""Suite ``filters``: what each HTTP filter costs, one by one, and what stats, access log and tracing do.

The load of ``http1``'s ``c32-100b``. Subjects are configurations of our proxy; the case says whether its data path is
compiled, or interpreted (``-pure``). ``router-alone`` is what to subtract.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import origin
from bench.filters_plan import SUBJECTS, TOKEN_HEADERS, bootstrap_of, install_python_filters
from bench.http_plan import HttpPlan
from bench.load.wrk import wrk
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.http import start
from harness.compiled import compiled_proxy
from harness.envoy import write_bootstrap
from harness.isthmus import module
from harness.ports import free_port

NAME = "filters"
CASES = ("c32-100b", "c32-100b-pure")
CONNECTIONS = 32
PROXY_CPU, LOAD_CPU = "0", "1"
WARM_UP_S = 1.0


def cases() -> tuple[str, ...]:
    """All case names."""
    return CASES


def subjects() -> tuple[str, ...]:
    """All configurations."""
    return SUBJECTS


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one configuration in the wanted builds."""
    with ExitStack() as stack:
        port = stack.enter_context(origin.origin(folder, LOAD_CPU))
        for case in wanted:
            yield case, _measure_case(subject, case, seconds, folder, port)


def _measure_case(subject: str, case: str, seconds: float, folder: Path, origin_port: int) -> Sample:
    plan = HttpPlan(free_port(), free_port(), origin_port, folder)
    bootstrap = write_bootstrap(bootstrap_of(subject, plan), folder, subject)
    paths = [*install_python_filters(folder), *([] if case.endswith("-pure") else [compiled_proxy()])]
    argv: list[str | Path] = [*module("isthmus_proxy"), "run", "-c", bootstrap, "--log-level", "warning"]
    running = start(subject, argv, plan, PROXY_CPU, {"PYTHONPATH": os.pathsep.join(map(str, paths))})
    try:
        url = f"http://127.0.0.1:{running.port}/100b"
        wrk(url, CONNECTIONS, WARM_UP_S, headers=TOKEN_HEADERS, cpus=LOAD_CPU)
        before = cpu_seconds(running.pids)
        report = wrk(url, CONNECTIONS, seconds, headers=TOKEN_HEADERS, cpus=LOAD_CPU)
        cpu = cpu_seconds(running.pids) - before
        return Sample(
            rps=report.requests / report.seconds,
            cpu_us_per_request=cpu / max(1, report.requests) * 1e6,
            p50_us=report.p50_us,
            p99_us=report.p99_us,
            rss_mb=memory(running.pids).rss_mb,
            errors=report.errors,
        )
    finally:
        running.stop()
