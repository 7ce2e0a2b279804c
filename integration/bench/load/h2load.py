"""h2load as a closed-loop load: N connections of HTTP/2, each with so many requests in flight."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.result import percentile

_DONE = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")


@dataclass(frozen=True, slots=True)
class H2loadReport:
    """What one run saw. ``errors`` counts failed requests and those with another status than 2xx."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int


def h2load(
    url: str,
    connections: int,
    streams: int,
    seconds: float,
    *,
    headers: Sequence[str] = (),
    body: Path | None = None,
    cpus: str = "",
) -> H2loadReport:
    """Run h2load with one thread for ``seconds``; ``cpus`` pins it (taskset's list). With ``body`` each request is a POST.

    Raises RuntimeError with h2load's own output when it cannot be read.
    """
    binary = shutil.which("h2load")
    if binary is None:
        raise RuntimeError("h2load is not installed: apt-get install nghttp2-client")
    pin = ["taskset", "-c", cpus] if cpus else []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        options = ["-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds:g}", f"--log-file={log}"]
        options += [f"-H{header}" for header in headers]
        options += [f"-d{body}"] if body is not None else []
        command = [*pin, binary, *options, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
        match = _DONE.search(done.stdout)
        if done.returncode or match is None:
            raise RuntimeError(f"h2load failed:\n{done.stdout}{done.stderr}")
        return _report(log.read_text(), seconds, errors=int(match[3]) + int(match[4]))


def _report(log: str, seconds: float, *, errors: int) -> H2loadReport:
    """A line a request: when it began, its status, and for how long it took, in microseconds."""
    rows = [line.split("\t") for line in log.splitlines()]
    times = sorted(int(row[2]) for row in rows)
    errors += sum(row[1][:1] != "2" for row in rows)
    return H2loadReport(len(rows), seconds, percentile(times, 0.5), percentile(times, 0.99), errors)
