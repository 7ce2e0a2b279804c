"""Suite ``http2``: closed loop, 8 connections with 1, 16 and 100 requests in flight on each, bodies of 100 B.

The proxy has one core to itself; load and origin share the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.http_plan import HttpPlan
from bench.load.h2load import h2load
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.http import Running
from bench.subjects.http2 import SUBJECTS
from harness import peers
from harness.ports import accepts, free_port
from harness.process import Process

NAME = "http2"
CASES = ("8x1", "8x16", "8x100")
PROXY_CPU, LOAD_CPU = "0", "1"
WARM_UP_S = 1.0


def cases() -> tuple[str, ...]:
    """All case names, in the order in which they run."""
    return CASES


def subjects() -> tuple[str, ...]:
    """All subjects of the suite."""
    return tuple(SUBJECTS)


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


@contextmanager
def origin(folder: Path, body: bytes, *options: str) -> Iterator[int]:
    """Run nghttpd, which answers ``/100b`` with ``body``; gives its port."""
    (folder / "100b").write_bytes(body)
    port = free_port()
    argv = ["taskset", "-c", LOAD_CPU, peers.command("nghttpd", "nghttp2-server"), "--no-tls", "-d", str(folder)]
    with Process("origin", [*argv, *options, str(port)]) as process:
        process.wait_until(lambda: accepts("127.0.0.1", port), what="listening")
        yield port


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject: start it, warm it up, measure each case, stop it."""
    with ExitStack() as stack:
        port = stack.enter_context(origin(folder, b"x" * 100))
        running = SUBJECTS[subject](HttpPlan(free_port(), free_port(), port, folder, http2=True), PROXY_CPU)
        stack.callback(running.stop)
        for case in wanted:
            yield case, measure_case(running, case, seconds)


def measure_case(
    running: Running, case: str, seconds: float, headers: Sequence[str] = (), body: Path | None = None
) -> Sample:
    """One case of a subject that runs."""
    connections, streams = map(int, case.split("x"))
    url = f"http://127.0.0.1:{running.port}/100b"
    h2load(url, connections, streams, WARM_UP_S, headers=headers, body=body, cpus=LOAD_CPU)
    pids = running.pids
    before = cpu_seconds(pids)
    report = h2load(url, connections, streams, seconds, headers=headers, body=body, cpus=LOAD_CPU)
    cpu = cpu_seconds(pids) - before
    return Sample(
        rps=report.requests / report.seconds,
        cpu_us_per_request=cpu / max(1, report.requests) * 1e6 if pids else None,
        p50_us=report.p50_us,
        p99_us=report.p99_us,
        rss_mb=memory(pids).rss_mb if pids else None,
        errors=report.errors,
    )
