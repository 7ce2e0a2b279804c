"""``python -m soak [--minutes M] [--rate R | --streams N] [--json FILE]``: run the soak and print its figures.

Exit status 1 if something was wrong. ``--streams`` holds streams of gRPC in place of the mixed load.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.procstat import cpu_seconds, memory
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.load import Load, Target
from harness.moody import Moody
from harness.origin import Origin
from harness.ports import accepts, free_port
from harness.process import Process
from soak import streams
from soak.configuration import Ports, bootstrap
from soak.traffic import Traffic
from soak.verdict import AT_REST_S, Outcome, Sample, objections, quarters

SAMPLE_EVERY_S = 0.5
MOOD_S = 2.0
MOODS = ("503", "good", "reset", "close", "good", "hang", "garbage", "good", "torn", "late:700", "good")


@dataclass(slots=True)
class Figures:
    """What is printed."""

    minutes: float
    requests: int
    requests_of_steady_load: int
    failed: int
    surprises: int
    retries: int
    connections: int
    rss_mb_start: float
    rss_mb_third_quarter: float
    rss_mb_last_quarter: float
    rss_mb_max: float
    fds_before: int
    fds_under_load: float
    fds_at_rest: int
    cpu_seconds: float
    kinds: dict[str, int]
    objections: list[str]


class Stage:
    """Everything that runs during a soak."""

    def __init__(self, directory: Path, stack: ExitStack, rate: float) -> None:
        self.moody = [stack.enter_context(Moody()) for _ in range(4)]
        silent = stack.enter_context(Moody())
        silent.mood("hang")
        origin = stack.enter_context(Origin("soak", "v1", directory))
        tunnels = free_port()
        argv = [sys.executable, "-m", "soak.echo", str(tunnels)]
        echo = stack.enter_context(Process("echo", argv, cwd=Path(__file__).parent.parent))
        echo.wait_until(lambda: accepts("127.0.0.1", tunnels), what="listening")
        moody = tuple(upstream.port for upstream in self.moody)
        self.ports = Ports(free_port(), free_port(), moody, origin.port, silent.port, tunnels, free_port())
        self.log = directory / "access.log"
        config = bootstrap(self.ports, str(self.log))
        self.proxy = stack.enter_context(Proxy(config, directory, name="soak")).wait_ready()
        address = f"127.0.0.1:{self.ports.http}"
        self.loads = [
            Load(Target(address, "/good", connections=16, rate=rate / 2, timeout_s=30)),
            Load(Target(address, "/good", connections=16, rate=rate / 2, timeout_s=30, body=b"x" * 3000)),
        ]

    def stats(self) -> dict[str, int]:
        """All counters and gauges."""
        lines = (line.partition(": ") for line in self.proxy.admin("/stats").text.splitlines())
        found = {name: int(value) for name, _, value in lines if value.lstrip("-").isdigit()}
        dropped = sum(value for name, value in found.items() if name.startswith("access_log") and "drop" in name)
        return {**found, "access_log.dropped": dropped}

    def sample(self, at: float) -> Sample:
        """The proxy now."""
        pid = self.proxy.process.pid
        return Sample(at, memory([pid]).rss_mb, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def run(minutes: float, rate: float) -> Figures:
    """Run the soak."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stage = Stage(Path(name), stack, rate)
        before = stage.sample(0.0)
        samples: list[Sample] = []
        with Traffic(stage.ports) as traffic:
            for load in stage.loads:
                load.start()
            _play(stage, samples, minutes * 60)
            traffic.stop()
            totals = [load.stop() for load in stage.loads]
        failed = [f"{each.phase}: {each.reason}" for load in stage.loads for each in load.failures()]
        outcome = _at_rest(stage, before, samples, failed, traffic.surprises)
        third, last = quarters(samples)
        stats = outcome.stats
        return Figures(
            minutes=minutes,
            requests=stats["http.in.downstream_rq_total"],
            requests_of_steady_load=sum(total.requests for total in totals),
            failed=len(failed),
            surprises=len(traffic.surprises),
            retries=stats["cluster.moody.upstream_rq_retry"],
            connections=stats["http.in.downstream_cx_total"],
            rss_mb_start=round(before.rss_mb, 1),
            rss_mb_third_quarter=round(median(sample.rss_mb for sample in third), 2),
            rss_mb_last_quarter=round(median(sample.rss_mb for sample in last), 2),
            rss_mb_max=round(max(sample.rss_mb for sample in samples), 1),
            fds_before=before.fds,
            fds_under_load=median(sample.fds for sample in last),
            fds_at_rest=outcome.fds_after,
            cpu_seconds=round(cpu_seconds([stage.proxy.process.pid]), 1),
            kinds=dict(sorted(traffic.done.items())),
            objections=objections(outcome),
        )


def _play(stage: Stage, samples: list[Sample], seconds: float) -> None:
    """Let the load run: one upstream of four is in a bad mood now and then, and admin pages are read all the time."""
    started = time.monotonic()
    turn = 0
    while (at := time.monotonic() - started) < seconds:
        if at > turn * MOOD_S:
            upstream = stage.moody[turn // len(MOODS) % len(stage.moody)]
            upstream.mood(MOODS[turn % len(MOODS)])
            turn += 1
        for path in ("/stats/prometheus", "/clusters", "/config_dump"):
            stage.proxy.admin(path)
        samples.append(stage.sample(at))
        time.sleep(SAMPLE_EVERY_S)
    for upstream in stage.moody:
        upstream.mood("good")


def _at_rest(stage: Stage, before: Sample, samples: list[Sample], failed: list[str], surprises: list[str]) -> Outcome:
    def look() -> Outcome:
        return Outcome(
            samples=samples,
            fds_before=before.fds,
            fds_after=stage.sample(0.0).fds,
            stats=stage.stats(),
            log_lines=stage.log.read_bytes().count(b"\n"),
            failed=failed,
            surprises=surprises,
        )

    with contextlib.suppress(AssertionError):  # what is wrong shows in the figures
        eventually(lambda: not objections(look()), within=AT_REST_S)
    return look()


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Mixed load with errors, and a verdict.")
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second of the steady load")
    parser.add_argument("--streams", type=int, default=0, help="hold that many streams of gRPC instead")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    held = options.streams
    figures = asdict(streams.run(options.minutes, held) if held else run(options.minutes, options.rate))
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    return 1 if figures["objections"] else 0


if __name__ == "__main__":
    sys.exit(main())
