"""Prints the matrix after the run."""

from __future__ import annotations

import pytest

COLUMNS = [("SDK", "SDK"), ("SDK", "mesh"), ("mesh", "SDK"), ("mesh", "mesh")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each protocol, a column for each pair of caller and callee."""
    cells: dict[tuple[str, str, str], str] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(report.user_properties)
            if "cell" in properties:
                cells[properties["cell"]] = _cell(outcome, properties.get("seen"))
    protocols = dict.fromkeys(protocol for protocol, _, _ in cells)
    terminalreporter.section("caller -> callee (requests that callee's sidecar, caller's sidecar counted)")
    terminalreporter.write_line(
        "".join(["protocol".ljust(10), *(f"{a} -> {b}".ljust(18) for a, b in COLUMNS)]).rstrip()
    )
    for protocol in protocols:
        line = [protocol.ljust(10), *(cells.get((protocol, *column), "-").ljust(18) for column in COLUMNS)]
        terminalreporter.write_line("".join(line).rstrip())


def _cell(outcome: str, seen: tuple[int, int] | None) -> str:
    return f"{'ok' if outcome == 'passed' else outcome} ({seen[0]}, {seen[1]})" if seen else outcome
