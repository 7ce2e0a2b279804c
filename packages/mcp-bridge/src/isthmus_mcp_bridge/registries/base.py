"""The one interface of registry adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from isthmus_mcp_bridge.events import RegistryEvent

Emit = Callable[[RegistryEvent], None]
"""Takes an event in the event loop's thread; never blocks and never raises."""


class Registry(Protocol):
    """Follows one registry and reports what it claims.

    ``run`` goes on until it is cancelled. A fault of the registry never ends it: it reports SourceSuspected, tries again
    with back-off, and makes the source LIVE by a SourceListed as soon as it has read everything again. An entry that
    cannot be used becomes a Problem of its origin and changes nothing else. It emits only events of its own ``name``.
    """

    @property
    def name(self) -> str:
        """The registry's name in the configuration: the ``source`` of its events."""
        ...

    async def run(self, emit: Emit) -> None:
        """Follow the registry until cancelled; releases connections and watches on the way out."""
        ...
