"""A run as pages of the documentation: charts, and a page of tables a suite. ``python -m bench.publish FILE.json`` for earlier runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.plot import write_charts
from bench.report import DOCS, figure
from bench.result import METRICS, Result, cases_of, read_json


def write_report(folder: Path, results: Sequence[Result], machine: dict[str, object]) -> list[Path]:
    """Write the charts of a suite and its page; give the files."""
    if not results:
        return []
    charts = write_charts(folder, results, machine)
    page = folder / f"{results[0].suite}.md"
    page.write_text("\n".join(_page(results, machine, charts)) + "\n")
    return [*charts, page]


def _page(results: Sequence[Result], machine: dict[str, object], charts: Sequence[Path]) -> Iterator[str]:
    yield f"# {results[0].suite}\n"
    yield "Medians of the rounds; below them, in small type, lowest and highest. Measured on: "
    yield ", ".join(f"{key} {value}" for key, value in machine.items()) + ".\n"
    for case in cases_of(results):
        yield f"## {case}\n"
        yield from _table([result for result in results if result.case == case])
        yield ""
    yield "## Charts\n"
    for chart in charts:
        yield f"![{chart.stem}]({chart.name})\n"


def _table(rows: Sequence[Result]) -> Iterator[str]:
    """A line a figure, a column a subject."""
    yield "| | " + " | ".join(row.subject for row in rows) + " |"
    yield "|---|" + "---:|" * len(rows)
    for name in [*METRICS, *sorted({extra for row in rows for extra in row.extras})]:
        if any(row.median(name) is not None for row in rows):
            yield f"| {name} | " + " | ".join(_cell(row, name) for row in rows) + " |"
    yield "| errors | " + " | ".join(str(row.errors) for row in rows) + " |"


def _cell(row: Result, name: str) -> str:
    median, spread = row.median(name), row.spread(name)
    if median is None or spread is None:
        return "-"
    return f"{figure(median)}<br><small>{figure(spread[0])}..{figure(spread[1])}</small>"


def main(argv: list[str]) -> int:
    """Publish the results of earlier runs, one file a suite."""
    parser = argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__)
    parser.add_argument("file", type=Path, nargs="+", help="what a run wrote with --json")
    parser.add_argument("--folder", type=Path, default=DOCS)
    options = parser.parse_args(argv)
    for file in options.file:
        for path in write_report(options.folder, *read_json(file)):
            sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
