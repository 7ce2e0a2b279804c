"""The kernel's accounting of a process and its children: processor time, memory, system load."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident and private (anonymous) memory, MiB."""

    rss_mb: float
    private_mb: float


def tree(pid: int) -> list[int]:
    """``pid`` and everything that descends from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in task.read_text().split())
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes so far, seconds.

    ``schedstat`` counts nanoseconds a thread; ``stat`` only clock ticks of 10 ms, which is too coarse for short rounds.
    """
    return sum(_process_cpu(pid) for pid in pids)


def _process_cpu(pid: int) -> float:
    try:
        threads = [int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    if any(threads):
        return sum(threads) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory(pids: list[int]) -> Memory:
    """Resident and anonymous memory of the processes, summed."""
    rss = anonymous = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                rss += int(line.split()[1])
            elif line.startswith("RssAnon:"):
                anonymous += int(line.split()[1])
    return Memory(rss / 1024, anonymous / 1024)


@dataclass(frozen=True, slots=True)
class Reading:
    """Processor time since the start, seconds: of everything on the machine, and of this process and its ended children."""

    at: float
    everybody: float
    ours: float


def reading() -> Reading:
    """Read both now. Children that still run are in ``everybody`` alone, so read when there are none."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = (int(field) / _TICK for field in fields)
    ours = sum(os.times()[:4])
    return Reading(time.monotonic(), user + nice + system + irq + softirq, ours)


def others_share(before: Reading, after: Reading) -> float:
    """What programs that are not part of the benchmark took between two readings, as a share of all cores."""
    elapsed = (after.at - before.at) * (os.cpu_count() or 1)
    others = (after.everybody - before.everybody) - (after.ours - before.ours)
    return max(0.0, others / elapsed) if elapsed > 0 else 0.0


def machine() -> dict[str, object]:
    """What a reader must know of the machine to judge the figures."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }
