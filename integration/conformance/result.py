"""The outcome of one conformance case, and the form in which tools read it. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What became of a case. What is not built yet is ``FAILED``; ``NOT_APPLICABLE`` asks for nothing we ever would do."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case of one suite. ``reason`` says what was wrong, or why the case does not apply; empty when it passed."""

    suite: str
    case: str
    status: Status
    reason: str = ""

    @property
    def name(self) -> str:
        """Suite and case, as the list of known gaps names them."""
        return f"{self.suite}/{self.case}"


def passed(suite: str, case: str) -> Outcome:
    """A case that passed."""
    return Outcome(suite, case, Status.PASSED)


def failed(suite: str, case: str, reason: str) -> Outcome:
    """A case that failed, and what was seen."""
    return Outcome(suite, case, Status.FAILED, reason)


def not_applicable(suite: str, case: str, reason: str) -> Outcome:
    """A case that asks for nothing, and why."""
    return Outcome(suite, case, Status.NOT_APPLICABLE, reason)


def verdict(suite: str, case: str, problems: Iterable[str]) -> Outcome:
    """Passed if there are no problems."""
    found = "; ".join(problems)
    return failed(suite, case, found) if found else passed(suite, case)


def counts(outcomes: Iterable[Outcome]) -> dict[str, Counter[Status]]:
    """How many of each status, by suite, in the order of the suites."""
    found: dict[str, Counter[Status]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.suite, Counter())[outcome.status] += 1
    return found


def as_json(outcomes: Iterable[Outcome], subject: str, gaps: dict[str, str]) -> str:
    """One document: subject, numbers by suite, every case. ``gaps`` gives the committed reason of a known failure by name."""
    listed = list(outcomes)
    numbers = {suite: {status.value: number[status] for status in Status} for suite, number in counts(listed).items()}
    cases: list[dict[str, Any]] = [
        asdict(outcome) | ({"known_gap": gaps[outcome.name]} if outcome.name in gaps else {}) for outcome in listed
    ]
    return json.dumps({"subject": subject, "suites": numbers, "cases": cases}, indent=1) + "\n"
