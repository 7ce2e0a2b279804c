"""What is known about a connection between its accept and its filter chain (Envoy's ConnectionSocket); no I/O."""

from __future__ import annotations

import socket

from isthmus_proxy.listener.model import Address

RAW_BUFFER = "raw_buffer"
TLS = "tls"


class AcceptedSocket:
    """A new connection. Listener filters fill it in; filter chains are chosen by it and network filters read it.

    ``remote`` and ``local`` are what the connection is about: a PROXY header or a redirect changes them; ``direct_remote`` is
    the peer itself. ``local_restored`` says that ``local`` is not where the socket was accepted. ``server_name`` is in lower
    case, empty when unknown, like the other findings.
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
        self.application_protocols: tuple[str, ...] = ()

    def restore_local(self, local: Address) -> None:
        """The connection was meant for ``local``, not for the address at which it was accepted."""
        if local != self.local:
            self.local = local
            self.local_restored = True
