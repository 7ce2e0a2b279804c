"""The report for people: every case that did not pass with its reason, then the numbers by suite."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from conformance.known_gaps import Judgement
from conformance.result import Outcome, Status, counts

_STYLES = {Status.PASSED: "green", Status.FAILED: "red", Status.NOT_APPLICABLE: "yellow"}


def print_report(
    console: Console, outcomes: Sequence[Outcome], judgement: Judgement | None, *, every: bool = False
) -> None:
    """Print the cases (those that passed only if ``every``), the numbers, and where the known gaps are not true."""
    rows = [outcome for outcome in outcomes if every or outcome.status is not Status.PASSED]
    if rows:
        console.print(_cases(rows, judgement))
    console.print(_numbers(outcomes, judgement))
    if judgement is not None:
        _print_differences(console, judgement)


def _cases(rows: Sequence[Outcome], judgement: Judgement | None) -> Table:
    table = Table(title="cases", title_justify="left")
    for column in ("suite", "case", "result", "reason"):
        table.add_column(column, overflow="fold")
    for outcome in rows:
        gap = judgement.known.get(outcome.name, "") if judgement is not None else ""
        reason = f"{outcome.reason}\n(known: {gap})" if gap else outcome.reason
        style = _STYLES[outcome.status]
        table.add_row(outcome.suite, outcome.case, f"[{style}]{outcome.status}[/{style}]", _plain(reason))
    return table


def _numbers(outcomes: Sequence[Outcome], judgement: Judgement | None) -> Table:
    table = Table(title="suites", title_justify="left")
    table.add_column("suite")
    for status in Status:
        table.add_column(status.value, justify="right")
    table.add_column("of the failures, known", justify="right")
    for suite, number in counts(outcomes).items():
        known = sum(name.startswith(f"{suite}/") for name in judgement.known) if judgement is not None else 0
        table.add_row(suite, *(str(number[status]) for status in Status), str(known) if judgement else "-")
    return table


def _print_differences(console: Console, judgement: Judgement) -> None:
    for outcome in judgement.unlisted:
        console.print(f"NOT LISTED: {outcome.name} failed: {outcome.reason}", style="red", markup=False)
    for entry, case in judgement.healed:
        console.print(f"NOT TRUE: {entry} is listed as a known gap, and {case} did not fail", style="red", markup=False)
    for entry in judgement.idle:
        console.print(f"NOT TRUE: {entry} is listed as a known gap and names no case", style="red", markup=False)


def _plain(text: str) -> str:
    """Text that rich prints as it is."""
    return text.replace("[", "\\[")
