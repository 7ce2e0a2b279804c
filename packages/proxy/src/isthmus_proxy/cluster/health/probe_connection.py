"""One TCP connection on which an endpoint is checked. It counts for no pool and no circuit breaker, as in Envoy."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol, TypeAlias

from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.upstream.connector import Connector
from isthmus_proxy.upstream.transports import Securing

Secure: TypeAlias = Callable[[socket.socket, Securing], Securing]
"""Begins what comes before the check itself on a connected socket: a PROXY header, TLS. See ``Transports.secure``."""

_BUFFER_LIMIT = 65536
"""Bytes that may wait to be sent: a check is small."""


class ProbeOwner(Protocol):
    """Who checks over a connection."""

    def connected(self) -> None:
        """Bytes may be written."""

    def data_received(self, data: bytes) -> None:
        """The endpoint sent something."""

    def closed(self) -> None:
        """The endpoint closed, or could not be reached. Not called after ``close``."""


Connect: TypeAlias = Callable[[ProbeOwner], "ProbeConnection"]
"""Opens a connection to the endpoint that is checked."""


class ProbeConnection:
    """Opened on creation; ``address`` is an IP literal and a port. Bytes go as they are unless there is ``secure``."""

    __slots__ = ("_connection", "_connector", "_owner", "_reactor", "_secure")

    def __init__(
        self, reactor: Reactor, address: tuple[str, int], owner: ProbeOwner, secure: Secure | None = None
    ) -> None:
        self._reactor = reactor
        self._owner: ProbeOwner | None = owner
        self._connection: Connection | None = None
        self._secure = secure
        connector = Connector(reactor, address, self._connected, self._connect_failed)
        self._connector: Connector | Securing | None = connector
        connector.start()

    def _connected(self, sock: socket.socket) -> None:
        if self._secure is not None:
            self._connector = self._secure(sock, Securing(self._secured, self._connect_failed))
            return
        connection = Connection(self._reactor, sock, self, _BUFFER_LIMIT)
        connection.adopt()
        self._opened(connection)

    def _secured(self, connection: Connection) -> None:
        connection.set_receiver(self)
        self._opened(connection)

    def _opened(self, connection: Connection) -> None:
        self._connector = None
        self._connection = connection
        if self._owner is not None:
            self._owner.connected()

    def _connect_failed(self, _error: OSError) -> None:
        self._connector = None
        self._lost()

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of the batch."""
        if self._connection is not None:
            self._connection.write(data)

    def close(self) -> None:
        """Close at once; the owner hears no more."""
        self._owner = None
        if self._connector is not None:
            self._connector.cancel()
            self._connector = None
        if self._connection is not None:
            self._connection.close()

    def _lost(self) -> None:
        owner = self._owner
        self.close()
        if owner is not None:
            owner.closed()

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        if self._owner is not None:
            self._owner.data_received(data)

    def eof_received(self) -> None:
        """The endpoint closed."""
        self._lost()

    def connection_lost(self, error: OSError) -> None:
        """The connection broke."""
        del error
        self._lost()

    def high_watermark_reached(self) -> None:
        """Nothing to hold back: a check is sent in one piece."""

    def low_watermark_reached(self) -> None:
        """See ``high_watermark_reached``."""

    def drained(self) -> None:
        """Not used: connections are closed at once."""
