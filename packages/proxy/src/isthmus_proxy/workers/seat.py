"""What a worker gets from its parent."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus_proxy.listener.model import Address


@dataclass(frozen=True, slots=True)
class Seat:
    """The connection to the parent, the number of workers, and bound sockets that all of them share."""

    sock: socket.socket
    count: int
    shared: Mapping[tuple[str, Address], socket.socket] = field(default_factory=dict)
