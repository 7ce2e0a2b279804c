"""Bolt loads by a small Go program of ours (``peers/boltload``), and the origin that answers them (``peers/boltorigin``)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import go_program
from harness.ports import accepts, free_port
from harness.process import Process


@dataclass(frozen=True, slots=True)
class BoltReport:
    """Latencies in microseconds; ``errors`` failed requests and the reason of the first."""

    requests: int
    seconds: float
    mean_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    errors: int
    first_error: str


def boltload(
    port: int, connections: int, outstanding: int, seconds: float, *, body: int = 100, rate: float = 0.0, cpus: str = ""
) -> BoltReport:
    """Load for ``seconds``, after a warm-up of one second: closed loop, or ``rate`` requests a second in all."""
    pin = ["taskset", "-c", cpus] if cpus else []
    flags = {
        "-address": f"127.0.0.1:{port}",
        "-connections": connections,
        "-outstanding": outstanding,
        "-body": body,
        "-rate": rate,
        "-duration": f"{seconds}s",
        "-warmup": "1s",
    }
    words = [str(word) for pair in flags.items() for word in pair]
    argv = [*pin, str(go_program("boltload")), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(f"boltload failed: {done.stderr}")
    return BoltReport(**json.loads(done.stdout))


@contextmanager
def bolt_origin(cpus: str = "", body: int = 100) -> Iterator[int]:
    """Run the origin, which answers with ``body`` bytes; gives its port."""
    port = free_port()
    pin = ["taskset", "-c", cpus] if cpus else []
    argv: list[str | Path] = [*pin, go_program("boltorigin"), "-listen", f"127.0.0.1:{port}", "-body", str(body)]
    with Process("boltorigin", argv) as process:
        process.wait_until(lambda: accepts("127.0.0.1", port), what="listening")
        yield port
