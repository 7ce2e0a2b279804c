"""An open-loop load at a fixed rate, by a small Go program of ours (``peers/openloop``): no coordinated omission."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import peers
from harness.process import run

SOURCE = Path(__file__).parent.parent / "peers" / "openloop"


@dataclass(frozen=True, slots=True)
class OpenLoopReport:
    """Latencies in microseconds; ``errors`` failed requests and the reason of the first."""

    requests: int
    mean_us: float
    p50_us: float
    p99_us: float
    errors: int
    first_error: str


def openloop_binary() -> Path:
    """The program, built on first use into the peers' cache (keyed by its source)."""
    digest = hashlib.sha256((SOURCE / "main.go").read_bytes()).hexdigest()[:16]
    return peers.install(f"openloop-{digest}", _build) / "openloop"


def _build(target: Path) -> None:
    if shutil.which("go") is None:
        peers.missing("Go", "install Go 1.22 or later (https://go.dev/doc/install)")
    done = run(["go", "build", "-C", SOURCE, "-o", target / "openloop", "."], within=300)
    if done.returncode:
        raise RuntimeError(f"go build of {SOURCE} failed:\n{done.stderr}")


def openloop(url: str, connections: int, rate: float, seconds: float, *, cpus: str = "") -> OpenLoopReport:
    """Send ``rate`` requests a second for ``seconds``, after a warm-up of one second."""
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
    ]
    done = subprocess.run(
        [*pin, str(openloop_binary()), *flags], capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    if done.returncode:
        raise RuntimeError(f"openloop failed: {done.stderr}")
    raw = json.loads(done.stdout)
    return OpenLoopReport(
        raw["requests"], raw["mean_us"], raw["p50_us"], raw["p99_us"], raw["errors"], raw["first_error"]
    )
