"""Regular expressions from configuration: RE2 only, whose time is linear in its input whatever the pattern.

The module ``re2`` costs 2.6 MB, so it is imported when the first pattern is compiled. Text is bytes, one character each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol


class Pattern(Protocol):
    """The part of a compiled RE2 pattern that routing uses."""

    def fullmatch(self, text: bytes) -> Any:
        """Return a true value when the whole ``text`` matches."""
        ...

    def sub(self, repl: Callable[[Any], bytes], text: bytes) -> bytes:
        """Return ``text`` with every match replaced by what ``repl`` makes of it."""
        ...

    @property
    def groups(self) -> int:
        """Number of capturing groups."""
        ...


class BadPatternError(ValueError):
    """A pattern that RE2 does not accept; the text says why."""


@lru_cache(maxsize=4096)
def compile_pattern(pattern: bytes) -> Pattern:
    """Compile an RE2 pattern. Raises BadPatternError for what RE2 refuses, such as look-around and back-references."""
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy, and most configurations have no pattern

    try:
        compiled: Pattern = re2.compile(pattern, _options(re2))
    except re2.error as error:
        raise BadPatternError(_reason(error)) from error
    return compiled


def _options(re2: Any) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options


class PatternSet:
    """Many patterns matched in one pass. RE2 gives a set up, without saying so, when its memory does not suffice for a text.

    A pattern that matches every text tells the two cases apart: if even that is missing, the answer is not known.
    """

    __slots__ = ("_canary", "_set")

    def __init__(self, patterns: Sequence[bytes]) -> None:
        import re2  # noqa: PLC0415 - see compile_pattern

        options = _options(re2)
        options.max_mem = _SET_MEMORY
        self._set = re2.Set.FullMatchSet(options)
        for pattern in patterns:
            self._set.Add(pattern)
        self._canary = self._set.Add(b"(?s).*")
        self._set.Compile()

    def matching(self, text: bytes) -> list[int] | None:
        """Ascending indices of the patterns that match the whole ``text``; None if that is not known."""
        found = self._set.Match(text)
        if found is None or self._canary not in found:
            return None
        return sorted(index for index in found if index != self._canary)


_SET_MEMORY = 64 << 20  # bytes that the automaton of one set may grow to; reached only by texts made for it


def _reason(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    return detail.decode("latin-1") if isinstance(detail, bytes) else str(detail)


_TEMPLATE = re.compile(rb"\\(.?)", re.DOTALL)


@lru_cache(maxsize=4096)
def compile_substitution(pattern: bytes, substitution: bytes) -> Callable[[Any], bytes]:
    """Compile an RE2 substitution: ``\\0`` to ``\\9`` are groups, a doubled backslash is one; nothing else is escaped.

    Raises BadPatternError for other escapes and for groups that ``pattern`` does not have.
    """
    parts = _TEMPLATE.split(substitution)
    literals, escapes = parts[::2], parts[1::2]
    groups = compile_pattern(pattern).groups
    for escape in escapes:
        if escape != b"\\" and not (escape.isdigit() and int(escape) <= groups):
            raise BadPatternError(
                f"\\{escape.decode('latin-1')} is neither a doubled backslash nor one of {groups} groups"
            )

    def expand(match: Any) -> bytes:
        text: bytes = literals[0]
        for escape, literal in zip(escapes, literals[1:], strict=True):
            text += (b"\\" if escape == b"\\" else match.group(int(escape)) or b"") + literal
        return text

    return expand


def substitute(pattern: bytes, substitution: bytes, text: bytes) -> bytes:
    """Return ``text`` with every match of ``pattern`` substituted."""
    return compile_pattern(pattern).sub(compile_substitution(pattern, substitution), text)
