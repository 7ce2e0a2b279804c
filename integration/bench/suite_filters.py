"""Suite ``filters``: what each HTTP filter costs, one by one, and what stats, access log and tracing do.

The load of ``http1``'s ``c32-100b``. Subjects are the proxy with its data path compiled (``isthmus``) and interpreted
(``isthmus-pure``), cases what is switched on; ``router-alone`` is what to subtract.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

from bench import origin
from bench.filters_plan import CONFIGURATIONS, asks_limiter, bootstrap_of, headers_of, install_python_filters
from bench.http_plan import HttpPlan
from bench.load.wrk import wrk
from bench.procstat import cpu_seconds, memory
from bench.rate_limit_service import rate_limit_service
from bench.result import Sample
from bench.subjects.http import start
from harness.compiled import compiled_proxy
from harness.envoy import write_bootstrap
from harness.isthmus import module
from harness.ports import free_port

NAME = "filters"
SUBJECTS = ("isthmus", "isthmus-pure")
CONNECTIONS = 32
PROXY_CPU, LOAD_CPU = "0", "1"
WARM_UP_S = 1.0


def cases() -> tuple[str, ...]:
    """All configurations."""
    return CONFIGURATIONS


def subjects() -> tuple[str, ...]:
    """Both builds."""
    return SUBJECTS


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one build, a process for each configuration."""
    with ExitStack() as stack:
        port = stack.enter_context(origin.origin(folder, LOAD_CPU))
        for case in wanted:
            plan = HttpPlan(free_port(), free_port(), port, folder)
            with rate_limit_service() if asks_limiter(case) else nullcontext(0) as limiter:
                yield case, _measure_case(subject, case, seconds, plan, limiter)


def _measure_case(subject: str, case: str, seconds: float, plan: HttpPlan, limiter: int) -> Sample:
    folder = plan.folder
    bootstrap = write_bootstrap(bootstrap_of(case, plan, limiter), folder, case)
    paths = [*install_python_filters(folder), *([] if subject.endswith("-pure") else [compiled_proxy()])]
    argv: list[str | Path] = [*module("isthmus_proxy"), "run", "-c", bootstrap, "--log-level", "warning"]
    running = start(subject, argv, plan, PROXY_CPU, {"PYTHONPATH": os.pathsep.join(map(str, paths))})
    try:
        url = f"http://127.0.0.1:{running.port}/100b"
        wrk(url, CONNECTIONS, WARM_UP_S, headers=headers_of(case), cpus=LOAD_CPU)
        before = cpu_seconds(running.pids)
        report = wrk(url, CONNECTIONS, seconds, headers=headers_of(case), cpus=LOAD_CPU)
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
