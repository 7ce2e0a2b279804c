"""Tables for people: one a case, subjects side by side, medians with the spread below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.result import METRICS, Result, cases_of

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
WIDEST = 8  # figures that fit beside each other


def print_report(console: Console, results: Sequence[Result], machine: dict[str, object]) -> None:
    """Print the tables, and the machine on which the figures were measured."""
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim", highlight=False)
    for case in cases_of(results):
        console.print(_table(case, [result for result in results if result.case == case]))


def _table(case: str, rows: Sequence[Result]) -> Table:
    names = [*METRICS, *sorted({name for row in rows for name in row.extras})]
    names = [name for name in names if any(row.median(name) is not None for row in rows)]
    if len(names) > WIDEST:
        return _tall(case, rows, names)
    table = _titled(case, rows, "subject")
    for name in [*names, "errors"]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.subject, *(_cell(row, name) for name in names), str(row.errors))
    return table


def _tall(case: str, rows: Sequence[Result], names: Sequence[str]) -> Table:
    """The table with a line a figure, where a column a figure would not fit on a screen."""
    table = _titled(case, rows, "figure")
    for row in rows:
        table.add_column(row.subject, justify="right")
    for name in names:
        table.add_row(name, *(_cell(row, name).replace("\n", " ") for row in rows))
    table.add_row("errors", *(str(row.errors) for row in rows))
    return table


def _titled(case: str, rows: Sequence[Result], first: str) -> Table:
    table = Table(title=f"{rows[0].suite} {case}", title_justify="left")
    table.add_column(first)
    return table


def _cell(row: Result, name: str) -> str:
    median, spread = row.median(name), row.spread(name)
    if median is None or spread is None:
        return "-"
    if len(row.samples) == 1:
        return figure(median)
    return f"{figure(median)}\n[dim]{figure(spread[0])}..{figure(spread[1])}[/dim]"


def figure(value: float) -> str:
    """A number with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
