"""``nox -s compose``: build the stack, send traffic, change a route, kill every part in turn under load, check, tear down."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from compose.stack import Stack, StackError
from demo.bounds import check_split
from harness.eventually import eventually
from harness.http import fetch
from harness.load import Load, Target
from harness.tally import Tally

CLIENT = "127.0.0.1:15001"
HOST = "shop.reviews"
SAMPLE = 1000
OUTAGE_S = 4.0
# What may die without anybody noticing: configuration, registry and bridge are not on the path of a request.
OFF_PATH = ("etcd", "zookeeper", "bridge", "controlplane", "load")
# One of two instances: the other one answers what it cannot, since the rule allows retries.
REDUNDANT = ("reviews-v1", "reviews-v2", "reviews-v2-sidecar")


class Play:
    """The acts, and what was checked in each."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self.checks: list[tuple[str, bool, str]] = []

    def check(self, name: str, passed: bool, detail: str) -> None:
        """Record one check and print it."""
        self.checks.append((name, passed, detail))
        self._console.print(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}", highlight=False)

    def run(self) -> None:
        """All acts, in order."""
        eventually(lambda: self._answers() == 200, within=120)
        with Load(Target(CLIENT, authority=HOST, connections=8, rate=400)) as load:
            self._split(load, "reviews-90-10", {"v1": 90, "v2": 10})
            self._split(load, "reviews-0-100", {"v1": 0, "v2": 100})
            self._stack.apply("reviews-any")
            self._sees_both(load)
            for service in (*OFF_PATH, *REDUNDANT):
                self._kill(load, service)
            self._kill_client_sidecar(load)
            self._split(load, "reviews-90-10", {"v1": 90, "v2": 10})
        self._metrics()

    def _answers(self) -> int:
        return fetch(CLIENT, "/", headers={"host": HOST}, timeout=5).status

    def _split(self, load: Load, rule: str, weights: dict[str, int]) -> None:
        self._stack.apply("reviews-subsets", rule)
        self._converged()
        tally = load.sample(f"{rule} {len(self.checks)}", SAMPLE, within=60)
        result = check_split(weights, tally.versions)
        self.check(f"split {rule}", result.passed, result.problem or str(dict(tally.versions)))
        self._no_failures(f"split {rule}", tally)

    def _converged(self) -> None:
        """Every client has acknowledged what the control plane has for it."""
        time.sleep(1.0)  # longer than the control plane gathers changes before it acts on them
        eventually(lambda: "STALE" not in self._stack.isthmusctl("status"), within=30)

    def _sees_both(self, load: Load) -> None:
        tally = load.phase("both")
        eventually(lambda: {"v1", "v2"} <= set(tally.versions), within=60)

    def _kill(self, load: Load, service: str) -> None:
        with self._dead(load, service) as tally:
            pass
        self._no_failures(f"{service} killed and restarted", tally)
        self._sees_both(load)

    @contextmanager
    def _dead(self, load: Load, service: str) -> Iterator[Tally]:
        tally = load.phase(f"without {service}")
        self._stack.kill(service)
        time.sleep(OUTAGE_S)
        yield tally
        self._stack.revive(service)
        time.sleep(1.0)

    def _kill_client_sidecar(self, load: Load) -> None:
        """The one part without a second: its callers fail while it is away, and only then."""
        with self._dead(load, "client-sidecar"):
            pass
        eventually(lambda: self._answers() == 200, within=60)
        self._no_failures("after the client's sidecar came back", load.sample("sidecar back", SAMPLE, within=60))

    def _metrics(self) -> None:
        for address, path, name in (
            ("127.0.0.1:15000", "/stats/prometheus", "envoy_cluster_upstream_rq"),
            ("127.0.0.1:15021", "/metrics", "isthmus_bridge"),
            ("127.0.0.1:15014", "/metrics", "isthmus_controlplane"),
        ):
            text = self._stack.metrics(address, path)
            self.check(f"metrics of {address}", name in text, f"{len(text.splitlines())} lines, {name}")

    def _no_failures(self, when: str, tally: Tally) -> None:
        first = f", first: {tally.failures[0].reason}" if tally.failures else ""
        self.check(when, not tally.failed, f"{tally.requests} requests, {tally.failed} failed{first}")


def main() -> int:
    """Build, play, report."""
    parser = argparse.ArgumentParser(prog="nox -s compose --", description=__doc__)
    parser.add_argument("--no-build", action="store_true", help="use the images that are there")
    parser.add_argument("--keep", action="store_true", help="leave the stack running on failure, to look at it")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    stack = Stack()
    play = Play(stack, console)
    try:
        if not options.no_build:
            console.print("building the images")
            stack.build()
        console.print("starting the stack")
        stack.start()
        play.run()
    except (StackError, AssertionError) as error:
        play.check("the play", False, str(error))
    finally:
        passed = bool(play.checks) and all(ok for _, ok, _ in play.checks)
        if passed or not options.keep:
            stack.__exit__(None, None, None)
    _summary(console, play)
    return 0 if passed else 1


def _summary(console: Console, play: Play) -> None:
    table = Table("check", "result", "detail", title="compose", title_justify="left")
    for name, ok, detail in play.checks:
        table.add_row(name, "passed" if ok else "FAILED", detail.splitlines()[0] if detail else "")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
