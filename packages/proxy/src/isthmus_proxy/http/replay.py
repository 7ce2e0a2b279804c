"""The body of a request as sent so far, kept as long as it may have to be sent again."""

from __future__ import annotations


class ReplayBody:
    """``parts`` are framed body bytes; ``possible`` turns false once they are no longer all there, and stays so."""

    __slots__ = ("parts", "possible", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] | None = None
        self.possible = True
        self.size = 0

    def keep(self, framed: bytes) -> int:
        """Keep more; answer how many bytes are kept now."""
        if self.parts is None:
            self.parts = []
        self.parts.append(framed)
        self.size += len(framed)
        return self.size

    def forget(self) -> None:
        """Let go: the request cannot be sent again."""
        self.possible = False
        self.parts = None
        self.size = 0
