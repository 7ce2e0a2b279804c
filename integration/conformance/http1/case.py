"""Cases as data: files of YAML, read into values. Pure but for `load`.

A file is ``{about, defaults, cases}``. Bytes are YAML strings, a character a byte (latin-1), or lists of parts:
a string, ``{repeat: "x-{n}: v\\r\\n", times: 99}`` with ``{n}`` counting from 0, or ``{fill: a, total: 61440}``, which makes all
parts together so long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conformance.http1.upstream import Script

FOLDER = Path(__file__).parent / "cases"
CLOSED = 0
"""Stands for "the connection is closed without an answer" among statuses."""
OPTIONAL = -1
"""Among statuses: this answer may be missing. Written with a question mark, ``100?``."""


class CaseError(ValueError):
    """A case file says something that cannot be understood; the message names file and case."""


@dataclass(frozen=True, slots=True)
class ExpectedRequest:
    """A request that must have reached the upstream. None: not looked at; a header that is None must be absent."""

    method: bytes | None = None
    target: bytes | None = None
    body: bytes | None = None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    trailers: tuple[tuple[bytes, bytes], ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes to send and what may come of them.

    Attributes:
        name: group and name.
        send: bytes sent at once.
        then: bytes sent after the first answer.
        methods: of the requests sent, as far as they matter for reading the answers (HEAD).
        statuses: the allowed statuses of each answer, interim ones included.
        may_break_off: an answer that is cut off by closing the connection is right, too.
        closes: whether the connection has to be closed after them; None: not looked at.
        upstream: the requests that must have come through; None: any number, as long as each is unambiguous.
        script: what the upstream answers.
        unasked: bytes that the upstream sends after the answers were received.
        headers: of the last answer; None must be absent.
        body: of the last answer.
        whole_only: not to be sent in pieces, too.
    """

    name: str
    send: bytes
    then: bytes
    methods: tuple[bytes, ...]
    statuses: tuple[frozenset[int], ...]
    may_break_off: bool
    closes: bool | None
    upstream: tuple[ExpectedRequest, ...] | None
    script: Script
    unasked: bytes
    headers: tuple[tuple[bytes, bytes | None], ...]
    body: bytes | None
    whole_only: bool


_KEYS = frozenset([
    "name", "why", "send", "then", "methods", "status", "may_break_off", "closes", "upstream", "answer", "answer_when",
    "answer_after", "unasked", "headers", "body", "whole_only",
])  # fmt: skip


def load(folder: Path = FOLDER) -> list[Case]:
    """All cases, by file name."""
    cases = [case for path in sorted(folder.glob("*.yaml")) for case in read(path.stem, path.read_text())]
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CaseError(f"cases with the same name: {', '.join(twice)}")
    return cases


def read(group: str, text: str) -> list[Case]:
    """The cases of one file."""
    document = yaml.safe_load(text)
    return [_case(group, document.get("defaults", {}) | raw) for raw in document["cases"]]


def raw_bytes(value: Any) -> bytes:
    """A string, or a list of parts."""
    if isinstance(value, str):
        return value.encode("latin-1")
    if not isinstance(value, list):
        raise CaseError(f"expected a string or a list of parts, not {value!r}")
    fixed = sum(len(_part(part)) for part in value if not _is_fill(part))
    return b"".join(_filled(part, fixed) if _is_fill(part) else _part(part) for part in value)


def _is_fill(part: Any) -> bool:
    return isinstance(part, dict) and "fill" in part


def _filled(part: dict[str, Any], fixed: int) -> bytes:
    return str(part["fill"]).encode("latin-1") * (int(part["total"]) - fixed)


def _part(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode("latin-1")
    return b"".join(str(part["repeat"]).replace("{n}", str(n)).encode("latin-1") for n in range(part["times"]))


def _case(group: str, raw: dict[str, Any]) -> Case:
    name = f"{group}/{raw.get('name')}"
    if unknown := sorted(raw.keys() - _KEYS):
        raise CaseError(f"{name}: unknown keys {', '.join(unknown)}")
    answers = raw.get("answer", [])
    scripted = tuple(raw_bytes(each) for each in ([answers] if isinstance(answers, str) else answers))
    statuses = _statuses(raw["status"])
    upstream = raw.get("upstream")
    refused = all(status >= 400 or status <= CLOSED for allowed in statuses for status in allowed)
    if "upstream" not in raw and refused and not scripted:
        upstream = []
    return Case(
        name=name,
        send=raw_bytes(raw["send"]),
        then=raw_bytes(raw.get("then", "")),
        methods=tuple(str(each).encode() for each in raw.get("methods", [])),
        statuses=statuses,
        may_break_off=bool(raw.get("may_break_off", False)),
        closes=raw.get("closes"),
        upstream=None if upstream is None else tuple(_expected(each) for each in upstream),
        script=Script(scripted, raw.get("answer_when", "request"), raw.get("answer_after", "keep")),
        unasked=raw_bytes(raw.get("unasked", "")),
        headers=_headers(raw.get("headers", {})),
        body=None if raw.get("body") is None else raw_bytes(raw["body"]),
        whole_only=bool(raw.get("whole_only", False)),
    )


def _statuses(raw: Any) -> tuple[frozenset[int], ...]:
    """``400``, ``400|closed``, ``100?``, or a list of those."""
    return tuple(
        frozenset(number for word in str(status).split("|") for number in _status(word))
        for status in (raw if isinstance(raw, list) else [raw])
    )


def _status(word: str) -> tuple[int, ...]:
    if word == "closed":
        return (CLOSED,)
    return (int(word[:-1]), OPTIONAL) if word.endswith("?") else (int(word),)


def _expected(raw: dict[str, Any]) -> ExpectedRequest:
    trailers = raw.get("trailers")
    return ExpectedRequest(
        method=_optional(raw.get("method")),
        target=_optional(raw.get("target")),
        body=None if raw.get("body") is None else raw_bytes(raw["body"]),
        headers=_headers(raw.get("headers", {})),
        trailers=None
        if trailers is None
        else tuple((name.encode(), raw_bytes(value)) for name, value in trailers.items()),
    )


def _optional(value: Any) -> bytes | None:
    return None if value is None else raw_bytes(value)


def _headers(raw: dict[str, Any]) -> tuple[tuple[bytes, bytes | None], ...]:
    return tuple((name.encode(), _optional(value)) for name, value in raw.items())
