"""Suite ``syscalls``: how many system calls a request costs, by strace's count, and the processor time in user space and kernel.

The processor time is taken first, with nothing attached: strace slows every system call down.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import origin
from bench.http_plan import HttpPlan
from bench.load.wrk import wrk
from bench.result import Sample
from bench.subjects.http import SUBJECTS, Running
from harness.ports import free_port
from harness.process import Process

NAME = "syscalls"
CONNECTIONS = (1, 32, 256)
CASES = tuple(f"c{connections}-100b" for connections in CONNECTIONS)
PROXY_CPU, LOAD_CPU = "0", "1"
WARM_UP_S = 1.0
KINDS: Mapping[str, frozenset[str]] = {
    "reads": frozenset({"read", "readv", "recvfrom", "recvmsg"}),
    "writes": frozenset({"write", "writev", "sendto", "sendmsg"}),
    "polls": frozenset({"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll"}),
}
"""Kinds of system calls; all others are ``others``."""
_TICK = os.sysconf("SC_CLK_TCK")


def cases() -> tuple[str, ...]:
    """All case names."""
    return CASES


def subjects() -> tuple[str, ...]:
    """All subjects of the suite: programs with processes of their own."""
    return tuple(name for name in SUBJECTS if name != "direct")


def gap(subject: str, case: str) -> str:
    """Why a subject has no such case: every subject has all of them."""
    del subject, case
    return ""


def measure(subject: str, wanted: tuple[str, ...], seconds: float, folder: Path) -> Iterator[tuple[str, Sample]]:
    """One round of one subject over the wanted cases."""
    if shutil.which("strace") is None:
        raise RuntimeError("strace is not installed: apt-get install strace")
    with ExitStack() as stack:
        port = stack.enter_context(origin.origin(folder, LOAD_CPU))
        running = SUBJECTS[subject](HttpPlan(free_port(), free_port(), port, folder), PROXY_CPU)
        stack.callback(running.stop)
        for case in wanted:
            yield case, _measure_case(running, int(case.partition("-")[0].removeprefix("c")), seconds, folder)


def _measure_case(running: Running, connections: int, seconds: float, folder: Path) -> Sample:
    url = f"http://127.0.0.1:{running.port}/100b"
    wrk(url, connections, WARM_UP_S, cpus=LOAD_CPU)
    before = _times(running.pids)
    plain = wrk(url, connections, seconds, cpus=LOAD_CPU)
    user, kernel = (after - earlier for after, earlier in zip(_times(running.pids), before, strict=True))
    table = folder / "strace"
    pids = [flag for pid in running.pids for flag in ("-p", str(pid))]
    with Process("strace", ["strace", "-c", "-f", "-U", "calls,name", "-o", table, *pids]) as tracer:
        tracer.wait_until(lambda: "attached" in tracer.tail(), what="attached")
        traced = wrk(url, connections, seconds, cpus=LOAD_CPU)
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait()
        except subprocess.TimeoutExpired as error:
            raise RuntimeError("strace does not end") from error
    return Sample(
        cpu_us_per_request=(user + kernel) / plain.requests * 1e6,
        errors=plain.errors + traced.errors,
        extra={
            "user_us": user / plain.requests * 1e6,
            "kernel_us": kernel / plain.requests * 1e6,
            **by_kind(table.read_text(), traced.requests),
        },
    )


def _times(pids: list[int]) -> tuple[float, float]:
    """(user, kernel) seconds of the processes so far."""
    user = kernel = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user += int(fields[11])
        kernel += int(fields[12])
    return user / _TICK, kernel / _TICK


def by_kind(table: str, requests: int) -> dict[str, float]:
    """System calls a request, by kind and together, of strace's table with the columns calls and name."""
    found = dict.fromkeys((*KINDS, "others"), 0.0)
    for line in table.splitlines():
        calls, _, name = line.strip().partition(" ")
        name = name.strip()
        if not calls.isdigit() or name in ("", "total"):
            continue
        kind = next((kind for kind, names in KINDS.items() if name in names), "others")
        found[kind] += int(calls) / requests
    return {**found, "syscalls": sum(found.values())}
