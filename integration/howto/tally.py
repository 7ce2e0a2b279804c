"""Counts the consumers' calls by what happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from howto.load import Load


@dataclass(frozen=True, slots=True)
class Row:
    """One part of the run: calls of either consumer, and calls that came through providers' sidecars."""

    what: str
    sdk: int
    meshed: int
    through: int


class Tally:
    """Rows, each from the end of the one before."""

    def __init__(self, sdk: Load, received: Callable[[], int]) -> None:
        self.rows: list[Row] = []
        self.meshed: Load | None = None
        """The consumer with a sidecar, once there is one."""
        self._sdk = sdk
        self._received = received
        self._before = (0, 0, 0)

    def end(self, what: str, *, sidecars: bool = True) -> None:
        """End a row; without ``sidecars`` there is nobody to ask what they received."""
        meshed = self.meshed.calls if self.meshed is not None else 0
        through = self._received() if sidecars else self._before[2]
        now = (self._sdk.calls, meshed, through)
        self.rows.append(Row(what, *(new - old for new, old in zip(now, self._before, strict=True))))
        self._before = now

    @property
    def failures(self) -> list[str]:
        """What became of calls that failed."""
        return [*self._sdk.failures, *(self.meshed.failures if self.meshed is not None else [])]

    @property
    def calls(self) -> int:
        """All calls."""
        return sum(row.sdk + row.meshed for row in self.rows)

    def table(self) -> str:
        """As text."""
        lines = [f"{'':22}{'SDK consumer':>14}{'mesh consumer':>15}{'by providers’ sidecars':>24}"]
        lines += [f"{row.what:22}{row.sdk:14}{row.meshed:15}{row.through:24}" for row in self.rows]
        return "\n".join([*lines, f"{self.calls} calls, {len(self.failures)} failed"])
