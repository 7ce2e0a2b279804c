"""An open-loop load at a fixed rate, by a small Go program of ours (``peers/openloop``): no coordinated omission."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from bench.peers import go_program


@dataclass(frozen=True, slots=True)
class OpenLoopReport:
    """Latencies in microseconds; ``errors`` failed requests and the reason of the first."""

    requests: int
    mean_us: float
    p50_us: float
    p99_us: float
    errors: int
    first_error: str


def openloop(
    url: str,
    connections: int,
    rate: float,
    seconds: float,
    *,
    cpus: str = "",
    header: str = "",
    unique_header: str = "",
) -> OpenLoopReport:
    """Send ``rate`` requests a second for ``seconds``, after a warm-up of one second.

    ``header`` (``Name: value``) is added to all of them; the header named ``unique_header`` has another value in each.
    """
    pin = ["taskset", "-c", cpus] if cpus else []
    flags = [
        "-url",
        url,
        "-connections",
        str(connections),
        "-rate",
        str(rate),
        "-duration",
        f"{seconds}s",
        "-warmup",
        "1s",
        "-header",
        header,
        "-unique-header",
        unique_header,
    ]
    done = subprocess.run(
        [*pin, str(go_program("openloop")), *flags], capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    if done.returncode:
        raise RuntimeError(f"openloop failed: {done.stderr}")
    raw = json.loads(done.stdout)
    return OpenLoopReport(
        raw["requests"], raw["mean_us"], raw["p50_us"], raw["p99_us"], raw["errors"], raw["first_error"]
    )
