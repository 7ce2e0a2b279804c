"""What the readers of registries ask about entries that bridges may have written themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Sieve(Protocol):
    """Keeps back what bridges of our own cluster have written."""

    def sift(self, origin: str, interface: str, names: Sequence[str]) -> tuple[str, ...]:
        """The names of the interface at this path that are foreign."""
        ...

    def remove(self, origin: str) -> None:
        """The interface is gone."""
        ...

    def listed(self, origins: Iterable[str]) -> None:
        """There are these interfaces and no others."""
        ...
