"""wrk as a closed-loop load: as fast as N keep-alive connections go."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# wrk calls done() with latencies in microseconds and the errors by kind; one line of JSON is easier to read than its text.
_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n@{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), e.connect, e.read, e.write, e.status, e.timeout))
end
"""


_SERVICES = """
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", string.format("/service-%%d%%s?%%d", math.random(0, %d - 1), "%s", number))
end
"""


@dataclass(frozen=True, slots=True)
class WrkReport:
    """What one run of wrk saw. ``errors`` counts connect, read, write, timeout and non-2xx/3xx responses."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int


def wrk(
    url: str,
    connections: int,
    seconds: float,
    *,
    headers: dict[str, str] | None = None,
    cpus: str = "",
    services: int = 0,
) -> WrkReport:
    """Run wrk with one thread; ``cpus`` pins it (taskset's list).

    With ``services`` no two requests are the same: each goes to ``/service-N`` below ``url``, N below that number, with a query of its own.

    Raises RuntimeError with wrk's own output when it prints no report.
    """
    binary = shutil.which("wrk")
    if binary is None:
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "report.lua")
        script.write_text(_REPORT + (_SERVICES % (services, urlsplit(url).path) if services else ""))
        pin = ["taskset", "-c", cpus] if cpus else []
        flags = [flag for name, value in (headers or {}).items() for flag in ("-H", f"{name}: {value}")]
        whole = max(1, round(seconds))
        command = [
            *pin,
            binary,
            "-t1",
            f"-c{connections}",
            f"-d{whole}s",
            "--timeout",
            "10s",
            "-s",
            str(script),
            *flags,
            url,
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=whole + 30, check=False)
    report = parse_report(run.stdout)
    if report is None:
        raise RuntimeError(f"wrk printed no report: {run.stdout}{run.stderr}")
    return report


def parse_report(text: str) -> WrkReport | None:
    """The report in what wrk printed; None when there is none."""
    lines = [line[1:] for line in text.splitlines() if line.startswith("@")]
    return _report(json.loads(lines[-1])) if lines else None


def _report(raw: dict[str, int]) -> WrkReport:
    return WrkReport(
        requests=raw["requests"],
        seconds=raw["duration_us"] / 1e6,
        p50_us=raw["p50_us"],
        p99_us=raw["p99_us"],
        errors=raw["connect"] + raw["read"] + raw["write"] + raw["status"] + raw["timeout"],
    )
