"""The numbered vectors of the xDS protocol, registered by the modules that implement them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.xds.lab import Lab

Check = Callable[["Lab"], Awaitable[None]]


class NotApplicableError(Exception):
    """A vector asks for nothing here; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector: its number, its name, and a check that raises AssertionError with what was seen."""

    number: int
    title: str
    check: Check

    @property
    def name(self) -> str:
        """As it stands in reports."""
        return f"{self.number:02}-{self.title}"


class VectorError(ValueError):
    """Two vectors have one number."""


VECTORS: dict[int, Vector] = {}


def vector(number: int, title: str) -> Callable[[Check], Check]:
    """Register a check."""

    def register(check: Check) -> Check:
        if number in VECTORS:
            raise VectorError(f"vector {number} is there twice")
        VECTORS[number] = Vector(number, title, check)
        return check

    return register


def expect(condition: object, seen: object) -> None:
    """Raise AssertionError with what was seen unless the condition holds; unlike ``assert``, it stays under ``-O``."""
    if not condition:
        raise AssertionError(str(seen))
