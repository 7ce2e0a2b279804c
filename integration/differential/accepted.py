"""The committed list of accepted differences, each with its reason; the list has to be true. Pure but for `load`.

The file is ``reason: [entry, ...]``; an entry is ``CASE FIELD``, both may hold ``*``. Every entry must match a difference
whenever the cases that it names were run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from differential.observation import Difference

PATH = Path(__file__).parent / "accepted.yaml"


class AcceptedFileError(ValueError):
    """The file has another form than a mapping of reasons to lists of ``CASE FIELD``."""


def load(path: Path = PATH) -> dict[str, str]:
    """Read the list: entry -> reason. Raises AcceptedFileError."""
    raw = yaml.safe_load(path.read_text()) or {}
    if not isinstance(raw, dict):
        raise AcceptedFileError(f"{path.name}: expected a mapping of reasons to lists of entries")
    entries: dict[str, str] = {}
    for reason, names in raw.items():
        if not isinstance(names, list) or not names:
            raise AcceptedFileError(f"{path.name}: {reason!r}: expected a list of entries")
        for name in names:
            if not isinstance(name, str) or len(name.split(" ")) != 2:
                raise AcceptedFileError(f"{path.name}: {name!r}: expected CASE FIELD")
            if name in entries:
                raise AcceptedFileError(f"{path.name}: {name!r} is listed twice")
            entries[name] = str(reason)
    return entries


def unlisted(case: str, differences: Iterable[Difference], entries: Iterable[str]) -> list[Difference]:
    """The differences of a case that no entry names."""
    patterns = [entry.split(" ") for entry in entries]
    return [
        each
        for each in differences
        if not any(fnmatchcase(case, name) and fnmatchcase(each.field, field) for name, field in patterns)
    ]


def idle(entries: Iterable[str], result: Mapping[str, Iterable[Difference]]) -> list[str]:
    """Entries that match no difference of ``result``, among those that name one of its cases."""
    found = []
    for entry in entries:
        name, field = entry.split(" ")
        concerned = [differences for case, differences in result.items() if fnmatchcase(case, name)]
        if concerned and not any(fnmatchcase(each.field, field) for differences in concerned for each in differences):
            found.append(entry)
    return found
