"""``python -m bench SUITE``: subjects in turn, several rounds, on the same load; a table, JSON, and charts on request."""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.procstat import machine, others_share, reading
from bench.report import DOCS, print_report
from bench.result import Result, Sample, write_json

QUIET_PCT = 5.0  # of the machine for programs that are no part of the benchmark; above, figures are not to be trusted
SUITES = (
    "http1",
    "http2",
    "grpc",
    "latency",
    "memory",
    "ab",
    "push",
    "ablation",
    "syscalls",
    "bolt",
    "bridge",
    "filters",
    "scaling",
)


class Suite(Protocol):
    """What a suite module offers."""

    NAME: str

    def cases(self) -> tuple[str, ...]: ...
    def subjects(self) -> tuple[str, ...]: ...
    def gap(self, subject: str, case: str) -> str: ...
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
        "--plot",
        type=Path,
        nargs="?",
        const=DOCS,
        help="write SVG charts and a page of tables to this folder (default docs/benchmarks)",
    )
    return parser.parse_args(argv)


def chosen(wanted: str, known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """The comma-separated names, checked; all when none are given."""
    names = tuple(name for name in wanted.split(",") if name)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown {kind} {', '.join(unknown)}; known: {', '.join(known)}")
    return names or known


@dataclass(slots=True)
class Outcome:
    """What a run of a suite gave: results, and the reason for every subject or case without any."""

    results: list[Result] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)


def run_suite(suite: Suite, options: argparse.Namespace, console: Console) -> Outcome:
    """Interleave the subjects over the rounds, so that a drift of the machine meets all of them.

    A subject that fails is out of the later rounds, and an error of the whole run.
    """
    subjects = chosen(options.subjects, suite.subjects(), "subjects")
    cases = chosen(options.cases, suite.cases(), "cases")
    outcome = Outcome()
    plan = {subject: tuple(case for case in cases if not suite.gap(subject, case)) for subject in subjects}
    outcome.gaps = {f"{s} {c}": suite.gap(s, c) for s in subjects for c in cases if c not in plan[s]}
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(suite.NAME, total=options.rounds * sum(map(len, plan.values())))
        for number, subject in itertools.product(range(options.rounds), subjects):
            if subject in outcome.failed:
                continue
            progress.update(task, description=f"{suite.NAME} round {number + 1} {subject}")
            try:
                for case, sample in _round(suite, subject, plan[subject], options.seconds):
                    samples[case, subject].append(sample)
                    progress.advance(task)
            except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
                outcome.failed[subject] = f"{type(error).__name__}: {error}"
    outcome.results = [
        Result(suite.NAME, case, subject, tuple(samples[case, subject]))
        for case, subject in itertools.product(cases, subjects)
        if samples[case, subject]
    ]
    return outcome


def _round(suite: Suite, subject: str, cases: tuple[str, ...], seconds: float) -> Iterator[tuple[str, Sample]]:
    if cases:
        with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
            yield from suite.measure(subject, cases, seconds, Path(folder))


def main(argv: list[str]) -> int:
    """Run one suite and report it."""
    os.environ.setdefault("ISTHMUS_REQUIRE_PEERS", "1")
    options = arguments(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    before, start = machine(), reading()
    outcome = run_suite(load_suite(options.suite), options, console)
    results = outcome.results
    others = round(others_share(start, reading()) * 100, 1)
    seen = before | {"load_after": machine()["load"], "others_cpu_pct": others}
    if others > QUIET_PCT:
        console.print(f"other programs took {others}% of the machine: repeat this on a quiet one", style="yellow")
    print_report(console, results, seen)
    if options.json is not None:
        write_json(options.json, results, seen)
    if options.plot is not None:
        from bench.publish import write_report

        for path in write_report(options.plot, results, seen):
            console.print(f"wrote {path}")
    for name, reason in outcome.gaps.items():
        console.print(f"{name}: {reason}", style="dim")
    for name, reason in outcome.failed.items():
        console.print(f"{name} failed, so its figures are not complete: {reason}", style="red", markup=False)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
