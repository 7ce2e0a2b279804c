"""``python -m conformance [--only SUITE] [--json FILE]``: run the suites, print one report, hold the known gaps to be true."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console

from conformance import known_gaps
from conformance.report import print_report
from conformance.result import Outcome, as_json

SUITES = {
    "http1": "conformance.http1.suite",
    "h2spec": "conformance.h2spec",
    "websocket": "conformance.websocket.suite",
    "xds": "conformance.xds.suite",
    "grpc-xds": "conformance.grpc_xds.suite",
    "envoy-validate": "conformance.envoy_validate",
}
OURS = "isthmus"


class Suite(Protocol):
    """What a suite module offers. ``PEERS`` may be put in the place of our program for comparison."""

    PEERS: tuple[str, ...]

    def run(self, subject: str, folder: Path) -> Iterator[Outcome]: ...


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nox -s conformance --", description=__doc__)
    parser.add_argument("--only", action="append", choices=SUITES, help="run this suite; may be given several times")
    parser.add_argument("--json", type=Path, help="write every case to this file")
    parser.add_argument("--all", action="store_true", help="print the cases that passed, too")
    parser.add_argument("--peer", help="ask envoy, haproxy or nginx instead of us, for comparison; exit status 0")
    return parser.parse_args(argv)


def load_suite(name: str) -> Suite:
    """The module of a suite."""
    module: Suite = importlib.import_module(SUITES[name])
    return module


def run_suites(names: list[str], subject: str, console: Console) -> list[Outcome]:
    """Run suites one after the other; those that cannot be asked of this subject are passed over aloud."""
    outcomes: list[Outcome] = []
    for name in names:
        suite = load_suite(name)
        if subject != OURS and subject not in suite.PEERS:
            console.print(f"{name}: does not apply to {subject}", style="dim")
            continue
        with tempfile.TemporaryDirectory(prefix=f"isthmus-{name}-") as folder:
            found = list(suite.run(subject, Path(folder)))
        console.print(f"{name}: {len(found)} cases", style="dim")
        outcomes += found
    return outcomes


def main(argv: list[str]) -> int:
    """Run the suites; 0 when every failure is a known gap and every known gap fails."""
    os.environ.setdefault("ISTHMUS_REQUIRE_PEERS", "1")
    options = arguments(argv)
    subject = options.peer or OURS
    console = Console(width=None if sys.stdout.isatty() else 150)
    outcomes = run_suites(options.only or list(SUITES), subject, console)
    judgement = known_gaps.judge(outcomes, known_gaps.load()) if subject == OURS else None
    print_report(console, outcomes, judgement, every=options.all)
    if options.json is not None:
        options.json.write_text(as_json(outcomes, subject, judgement.known if judgement else {}))
    return 0 if judgement is None or judgement.true else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
