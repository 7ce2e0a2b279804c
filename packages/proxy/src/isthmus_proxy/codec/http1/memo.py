"""A bounded memo from the bytes of a head to what was parsed from them.

Parsing is a pure function of the bytes, so a hit is equal to a fresh parse. When the memo is full it starts afresh: hot
heads are back after one request each, and heads that never repeat cost no bookkeeping.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Parsed = TypeVar("Parsed")

MAX_ENTRIES = 1024
MAX_HEAD_BYTES = 2048
"""Longer heads are rare and seldom repeat; with MAX_ENTRIES this bounds a memo's memory at a few MB."""


class HeadMemo(Generic[Parsed]):
    """``get`` is a bound ``dict.get``: the hot path calls nothing else. ``resets`` counts fresh starts."""

    __slots__ = ("_entries", "get", "resets")

    def __init__(self) -> None:
        self._entries: dict[bytes, Parsed] = {}
        self.get = self._entries.get
        self.resets = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, raw: bytes, parsed: Parsed) -> None:
        """Remember ``parsed`` unless ``raw`` is long."""
        if len(raw) > MAX_HEAD_BYTES:
            return
        if len(self._entries) >= MAX_ENTRIES:
            self._entries.clear()
            self.resets += 1
        self._entries[raw] = parsed
