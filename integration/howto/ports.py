"""The page's ports are those that people use; a run takes free ones, and puts the page's back into what it shows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping

from harness.ports import free_port

_NUMBER = re.compile(r"(?:(?<![\w.])|(?<=%3A))\d{4,5}(?!\w)")


class Ports:
    """Port of the page to port of the run, and back."""

    def __init__(self, shown: Iterable[int], given: Mapping[int, int], reserved: Iterable[int]) -> None:
        """Prepare.

        Args:
            shown: the page's ports that get free ones.
            given: the page's ports that have one already.
            reserved: other numbers on the page, which no port of the run may be.
        """
        wanted = sorted(shown)
        taken = {*wanted, *reserved}
        free = iter(free_port, None)
        ports = sorted(itertools.islice((port for port in free if port not in taken), len(wanted)))
        # In the same order, so that what is sorted on the page is sorted in a run.
        pairs = [*given.items(), *zip(wanted, ports, strict=True)]
        self._real = {str(port): str(real) for port, real in pairs}
        self._shown = {real: port for port, real in self._real.items()}

    def real(self, text: str) -> str:
        """The text with this run's ports."""
        return _replace(text, self._real)

    def shown(self, text: str) -> str:
        """The text with the page's ports."""
        return _replace(text, self._shown)

    def port(self, shown: int) -> int:
        """This run's port."""
        return int(self._real[str(shown)])

    def address(self, shown: int) -> str:
        """This run's address."""
        return f"127.0.0.1:{self.port(shown)}"


def _replace(text: str, numbers: Mapping[str, str]) -> str:
    return _NUMBER.sub(lambda found: numbers.get(found[0], found[0]), text)
