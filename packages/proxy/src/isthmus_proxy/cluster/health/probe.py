"""What a checker asks of the protocol by which an endpoint is checked."""

from __future__ import annotations

from typing import Protocol

from isthmus_proxy.cluster.health.host_check import Failure


class Report(Protocol):
    """Where the outcome of a check goes: once for each check that was begun and not abandoned."""

    def check_passed(self, *, degraded: bool) -> None:
        """The endpoint is well."""

    def check_failed(self, failure: Failure, *, retriable: bool = False, status: int = 0) -> None:
        """It is not; ``status`` is that of a wrong answer over HTTP."""


class Probe(Protocol):
    """Checks one endpoint, again and again, one check at a time."""

    def begin(self) -> None:
        """Begin a check; the outcome is never reported from within this call."""

    def abandon(self) -> None:
        """The check takes too long: nothing more is heard of it."""

    def close(self) -> None:
        """Check no more."""
