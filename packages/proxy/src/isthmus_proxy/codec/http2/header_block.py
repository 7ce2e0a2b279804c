"""A decoded header block, and the memo through which connections share equal ones."""

from __future__ import annotations

from isthmus_proxy.codec.http2.static_table import Field

MAX_ENTRIES = 1024
MAX_BYTES = 2048
"""Longer header lists are rare and seldom repeat; with MAX_ENTRIES this bounds a memo at a few MB."""

Fields = tuple[Field, ...]


class HeaderBlock:
    """``fields`` in order, pseudo-header fields first where the sender kept the rules.

    ``verdict`` is what validation found (see ``messages``), None before; ``length`` its content-length or -1, ``status`` its
    :status or 0. ``overflow``: the list is larger than allowed and ``fields`` are not kept. ``whole`` and ``begun`` are the
    owner's: what it derived from the block as a whole message, and as the head of one.
    """

    __slots__ = ("begun", "fields", "length", "overflow", "status", "verdict", "whole")

    def __init__(self, fields: Fields, *, overflow: bool = False) -> None:
        self.fields = fields
        self.overflow = overflow
        self.verdict: str | None = None
        self.length = -1
        self.status = 0
        self.whole: object | None = None
        self.begun: object | None = None


class BlockMemo:
    """Equal header lists become one HeaderBlock. When full it starts afresh: hot ones are back after one request each."""

    __slots__ = ("_blocks", "resets")

    def __init__(self) -> None:
        self._blocks: dict[Fields, HeaderBlock] = {}
        self.resets = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def of(self, fields: Fields) -> HeaderBlock:
        """The block of ``fields``: a known one, or a new one, which is remembered unless it is large."""
        block = self._blocks.get(fields)
        if block is None:
            block = HeaderBlock(fields)
            if sum(len(name) + len(value) for name, value in fields) <= MAX_BYTES:
                if len(self._blocks) >= MAX_ENTRIES:
                    self._blocks.clear()
                    self.resets += 1
                self._blocks[fields] = block
        return block
