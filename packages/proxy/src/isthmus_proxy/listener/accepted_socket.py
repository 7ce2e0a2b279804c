"""What is known about a connection between its accept and its filter chain (Envoy's ConnectionSocket); no I/O."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from isthmus_proxy.listener.model import Address
from isthmus_proxy.reactor.connection import Connection, Receiver
from isthmus_proxy.reactor.reactor import Reactor

if TYPE_CHECKING:
    from isthmus_proxy.reactor.tls_connection import TlsConnection

RAW_BUFFER = "raw_buffer"
TLS = "tls"


class ConnectionSecurity(Protocol):
    """TLS of a filter chain (``tls.server.ServerTls``)."""

    def open(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, limit: int) -> TlsConnection:
        """A connection over TLS on ``sock``, not started."""


class AcceptedSocket:
    """A new connection. Listener filters fill it in; filter chains are chosen by it and network filters read it.

    ``remote`` and ``local`` are what the connection is about: a PROXY header or a redirect changes them; ``direct_remote`` is
    the peer itself. ``local_restored`` says that ``local`` is not where the socket was accepted. ``server_name`` is in lower
    case, empty when unknown, like the other findings. ``tls`` is set where the filter chain has TLS.
    """

    __slots__ = (
        "application_protocols",
        "connection_id",
        "direct_remote",
        "local",
        "local_restored",
        "remote",
        "server_name",
        "sock",
        "tls",
        "transport_protocol",
    )

    def __init__(self, sock: socket.socket, remote: Address, local: Address, connection_id: int) -> None:
        self.sock = sock
        self.remote = remote
        self.direct_remote = remote
        self.local = local
        self.local_restored = False
        self.connection_id = connection_id
        self.server_name = ""
        self.transport_protocol = ""
        self.tls: ConnectionSecurity | None = None
        self.application_protocols: tuple[str, ...] = ()

    def open(self, reactor: Reactor, receiver: Receiver, limit: int) -> Connection:
        """The connection for whoever serves it, not started."""
        if self.tls is None:
            return Connection(reactor, self.sock, receiver, limit)
        return self.tls.open(reactor, self.sock, receiver, limit)

    def restore_local(self, local: Address) -> None:
        """The connection was meant for ``local``, not for the address at which it was accepted."""
        if local != self.local:
            self.local = local
            self.local_restored = True
