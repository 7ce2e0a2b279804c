"""The committed list of failures that are known, each with its reason; the list has to be true. Pure but for `load`.

An entry is ``suite/case`` or a pattern with ``*``. Every entry must fail somewhere, and nothing that it names may pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from conformance.result import Outcome, Status

PATH = Path(__file__).parent / "known_gaps.yaml"


class GapFileError(ValueError):
    """The file of known gaps has another form than a mapping of reasons to lists of names."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a run compares with the list.

    Attributes:
        known: the reason of each failure that is listed, by its name.
        unlisted: failures that no entry names.
        healed: (entry, case) where a case that an entry names did not fail.
        idle: entries that name no case of the suites that ran.
    """

    known: dict[str, str] = field(default_factory=dict)
    unlisted: tuple[Outcome, ...] = ()
    healed: tuple[tuple[str, str], ...] = ()
    idle: tuple[str, ...] = ()

    @property
    def true(self) -> bool:
        """Whether the list says exactly what was seen."""
        return not (self.unlisted or self.healed or self.idle)


def load(path: Path = PATH) -> dict[str, str]:
    """Read the list: entry -> reason. The file is ``reason: [entry, ...]``, so that a reason is written once.

    Raises:
        GapFileError: the file has another form, or names an entry twice.
    """
    raw = yaml.safe_load(path.read_text()) or {}
    if not isinstance(raw, dict):
        raise GapFileError(f"{path.name}: expected a mapping of reasons to lists of suite/case")
    entries: dict[str, str] = {}
    for reason, names in raw.items():
        if not isinstance(names, list) or not names:
            raise GapFileError(f"{path.name}: {reason!r}: expected a list of suite/case")
        for name in names:
            if str(name) in entries:
                raise GapFileError(f"{path.name}: {name!r} is listed twice")
            entries[str(name)] = str(reason)
    return entries


def judge(outcomes: Iterable[Outcome], entries: Mapping[str, str]) -> Judgement:
    """Compare a run with the list; entries of suites that did not run are left alone."""
    listed = list(outcomes)
    suites = {outcome.suite for outcome in listed}
    concerned = [entry for entry in entries if entry.partition("/")[0] in suites]
    known: dict[str, str] = {}
    unlisted: list[Outcome] = []
    healed: list[tuple[str, str]] = []
    used: set[str] = set()
    for outcome in listed:
        matching = [entry for entry in concerned if fnmatchcase(outcome.name, entry)]
        used.update(matching)
        if outcome.status is not Status.FAILED:
            healed += [(entry, outcome.name) for entry in matching]
        elif matching:
            known[outcome.name] = entries[matching[0]]
        else:
            unlisted.append(outcome)
    idle = tuple(entry for entry in concerned if entry not in used)
    return Judgement(known, tuple(unlisted), tuple(healed), idle)
