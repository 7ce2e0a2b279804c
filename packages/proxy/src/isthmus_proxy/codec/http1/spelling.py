"""How field names are spelt on the wire (core.v3.Http1ProtocolOptions.HeaderKeyFormat): lower case unless configured otherwise.

Names are compared in lower case everywhere else; only finished heads are spelt anew, and only where it is configured.
"""

from __future__ import annotations

import re

PROPER_CASE = "proper_case"
PRESERVE_CASE = "preserve_case"
PRESERVE_OR_PROPER_CASE = "preserve_case, others proper_case"

_WORD = re.compile(rb"(?<![a-z0-9])[a-z]")


class Spelling:
    """``names`` by their lower-case form; all others stay as they are, or begin each word with a capital if ``proper``."""

    __slots__ = ("_names", "_proper")

    def __init__(self, names: dict[bytes, bytes], *, proper: bool) -> None:
        self._names = names
        self._proper = proper

    def of(self, name: bytes) -> bytes:
        """The spelling of a lower-case ``name``."""
        found = self._names.get(name)
        if found is None:
            found = _WORD.sub(_upper, name) if self._proper else name
        return found

    def respell(self, head: bytes) -> bytes:
        """A finished ``head`` with its field names spelt anew."""
        lines = head.split(b"\r\n")
        for index in range(1, len(lines) - 2):
            name, colon, value = lines[index].partition(b":")
            lines[index] = self.of(name) + colon + value
        return b"\r\n".join(lines)


def _upper(match: re.Match[bytes]) -> bytes:
    return match.group().upper()


PROPER = Spelling({}, proper=True)
"""``x-request-id`` as ``X-Request-Id`` (proper_case_words)."""


def remembered(lines: list[bytes], key_format: str) -> Spelling | None:
    """How the peer spelt the fields of a head, its first spelling of each; None where ``key_format`` does not ask for it."""
    if key_format not in (PRESERVE_CASE, PRESERVE_OR_PROPER_CASE):
        return None
    names: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name = line.partition(b":")[0]
        names.setdefault(name.lower(), name)
    return Spelling(names, proper=key_format == PRESERVE_OR_PROPER_CASE)
