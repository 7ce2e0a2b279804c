"""A bounded memory of answers: two generations, so that what is in use survives and an attack costs only its own misses."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Memo(Generic[V]):
    """Maps a hashable key to an answer that is never None. Holds at most ``limit`` answers.

    When the young generation is full it becomes the old one, and the old one is dropped. ``hits`` and ``misses`` count calls of
    ``get``; ``size`` is the number of answers held.
    """

    __slots__ = ("_half", "_old", "_young", "hits", "misses")

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._young: dict[object, V] = {}
        self._old: dict[object, V] = {}
        self.hits = 0
        self.misses = 0

    def get(self, key: object) -> V | None:
        """Return the answer for ``key``, or None when it is not known."""
        answer = self._young.get(key)
        if answer is None:
            answer = self._old.pop(key, None)
            if answer is None:
                self.misses += 1
                return None
            self.put(key, answer)
        self.hits += 1
        return answer

    def put(self, key: object, answer: V) -> None:
        """Remember ``answer`` for ``key``."""
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = answer

    @property
    def size(self) -> int:
        """Number of answers held."""
        return len(self._young) + len(self._old)
