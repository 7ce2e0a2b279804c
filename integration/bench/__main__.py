"""``python -m bench SUITE``: subjects in turn, several rounds, on the same load; a table, JSON, and charts on request."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.procstat import machine
from bench.report import print_report
from bench.result import Result, Sample, write_json

SUITES = ("http1", "latency", "memory")


class Suite(Protocol):
    """What a suite module offers."""

    NAME: str

    def cases(self) -> tuple[str, ...]: ...
    def subjects(self) -> tuple[str, ...]: ...
    def measure(
        self, subject: str, wanted: tuple[str, ...], seconds: float, folder: Path
    ) -> Iterator[tuple[str, Sample]]: ...


def load_suite(name: str) -> Suite:
    """The module of a suite."""
    module: Suite = importlib.import_module(f"bench.suite_{name}")
    return module


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time per case and round (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, subjects interleaved (default 3)")
    parser.add_argument("--subjects", default="", help="comma-separated; default all")
    parser.add_argument("--cases", default="", help="comma-separated; default all")
    parser.add_argument("--json", type=Path, help="write one JSON object a subject and case to this file")
    parser.add_argument(
        "--plot", type=Path, nargs="?", const=Path("docs/benchmarks"), help="write SVG charts to this folder"
    )
    return parser.parse_args(argv)


def chosen(wanted: str, known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """The comma-separated names, checked; all when none are given."""
    names = tuple(name for name in wanted.split(",") if name)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown {kind} {', '.join(unknown)}; known: {', '.join(known)}")
    return names or known


def run_suite(suite: Suite, options: argparse.Namespace, console: Console) -> list[Result]:
    """Interleave the subjects over the rounds, so that a drift of the machine meets all of them."""
    subjects = chosen(options.subjects, suite.subjects(), "subjects")
    cases = chosen(options.cases, suite.cases(), "cases")
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(suite.NAME, total=options.rounds * len(subjects) * len(cases))
        for number in range(options.rounds):
            for subject in subjects:
                progress.update(task, description=f"{suite.NAME} round {number + 1} {subject}")
                with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
                    for case, sample in suite.measure(subject, cases, options.seconds, Path(folder)):
                        samples[case, subject].append(sample)
                        progress.advance(task)
    return [
        Result(suite.NAME, case, subject, tuple(samples[case, subject]))
        for case in cases
        for subject in subjects
        if samples[case, subject]
    ]


def main(argv: list[str]) -> int:
    """Run one suite and report it."""
    os.environ.setdefault("ISTHMUS_REQUIRE_PEERS", "1")
    options = arguments(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    before = machine()
    results = run_suite(load_suite(options.suite), options, console)
    seen = before | {"load_after": machine()["load"]}
    print_report(console, results, seen)
    if options.json is not None:
        write_json(options.json, results, seen)
    if options.plot is not None:
        from bench.plot import write_charts

        for path in write_charts(options.plot, results, seen):
            console.print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
