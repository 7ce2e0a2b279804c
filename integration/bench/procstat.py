"""The kernel's accounting of a process and its children: processor time, memory, system load."""

from __future__ import annotations

import os
import platform
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
