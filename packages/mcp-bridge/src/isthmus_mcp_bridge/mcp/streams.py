"""One open stream of a sink, as the service keeps it and the administration endpoint shows it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Protocol

from isthmus_mcp_bridge.mcp.filters import EVERYTHING, SinkFilter
from isthmus_mcp_bridge.mcp.session import Response, TypeStatus
from isthmus_mcp_bridge.mcp.snapshot import Snapshot


class Session(Protocol):
    """What SotW and delta sessions have in common."""

    @property
    def status(self) -> Mapping[str, TypeStatus]:
        """How each requested type stands."""
        ...

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        ...

    def next_response(self) -> Response | None:
        """The next response that may be sent now."""
        ...


@dataclasses.dataclass(slots=True)
class Stream:
    """A stream: variant (``sotw`` or ``delta``), the peer's address, its session, and the node once it said so."""

    variant: str
    peer: str
    session: Session
    node: str = ""
    filter: SinkFilter = EVERYTHING
    wake: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the session may have something to send; a latest-wins signal, so nothing queues up."""

    @property
    def sink(self) -> str:
        """How logs name the sink."""
        return f"sink {self.node or '(no node yet)'} at {self.peer}"
