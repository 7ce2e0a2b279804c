"""Times at which something is due, one a key; a heap whose outdated entries are passed over."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Alarms(Generic[Key]):
    """At most one alarm a key."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: Key, due: float | None) -> None:
        """Set the key's alarm to another time, or remove it."""
        if due is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))
            if len(self._heap) > 2 * len(self._due) + 64:
                self._heap = [(due, next(self._order), key) for key, due in self._due.items()]
                heapq.heapify(self._heap)

    def next_due(self) -> float | None:
        """The earliest time; None when there is no alarm."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[Key]:
        """The keys whose time has come, earliest first; their alarms are gone."""
        taken = []
        while (due := self.next_due()) is not None and due <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._due[key]
            taken.append(key)
        return taken
