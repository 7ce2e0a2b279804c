"""Suite ``grpc``: closed loop, 8 connections with 1, 16 and 100 calls on each: unary calls, and streams of messages of 100 B.

A unary call is a POST with a message, answered with a message and a status in trailers; of a stream each message that comes back
counts. The proxy has one core to itself; load and origin share the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.http_plan import HttpPlan
from bench.load.grpcload import echo_server, grpcload
from bench.procstat import cpu_seconds, memory
from bench.result import Sample
from bench.subjects.http import Running
from bench.subjects.http2 import SUBJECTS
from bench.suite_http2 import CASES as CONCURRENCY
from bench.suite_http2 import LOAD_CPU, PROXY_CPU, WARM_UP_S, measure_case, origin
from harness.ports import free_port

NAME = "grpc"
MESSAGE = b"\0\0\0\0\x64" + b"x" * 100
HEADERS = ("content-type: application/grpc", "te: trailers")


def cases() -> tuple[str, ...]:
    """All case names, in the order in which they run."""
    return tuple(f"{kind}-{case}" for kind in ("unary", "stream") for case in CONCURRENCY)


def subjects() -> tuple[str, ...]:
    """All subjects of the suite."""
    return tuple(SUBJECTS)


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject: for each kind of call start it before its origin, warm it up, measure each case, stop it."""
    body = folder / "message"
    body.write_bytes(MESSAGE)
    for kind in ("unary", "stream"):
        chosen = [case for case in wanted if case.startswith(kind)]
        if not chosen:
            continue
        with ExitStack() as stack:
            unary = kind == "unary"
            server = origin(folder, MESSAGE, "--trailer=grpc-status: 0") if unary else echo_server(LOAD_CPU)
            plan = HttpPlan(free_port(), free_port(), stack.enter_context(server), folder, http2=True)
            running = SUBJECTS[subject](plan, PROXY_CPU)
            stack.callback(running.stop)
            for case in chosen:
                concurrency = case.partition("-")[2]
                if unary:
                    yield case, measure_case(running, concurrency, seconds, HEADERS, body)
                else:
                    yield case, _measure_streams(running, concurrency, seconds)


def _measure_streams(running: Running, case: str, seconds: float) -> Sample:
    connections, streams = map(int, case.split("x"))
    grpcload(running.port, connections, streams, WARM_UP_S, cpus=LOAD_CPU)
    pids = running.pids
    before = cpu_seconds(pids)
    report = grpcload(running.port, connections, streams, seconds, cpus=LOAD_CPU)
    cpu = cpu_seconds(pids) - before
    return Sample(
        rps=report.messages / seconds,
        cpu_us_per_request=cpu / max(1, report.messages) * 1e6 if pids else None,
        p50_us=report.p50_us,
        p99_us=report.p99_us,
        rss_mb=memory(pids).rss_mb if pids else None,
        errors=report.errors,
    )
