"""Makes of a connected socket what the transport socket of its endpoint says: a PROXY header first, then TLS.

The modules of TLS are imported by the first connection that needs them.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.cluster.model import ClusterConfig
from isthmus_proxy.cluster.transport import TransportOptions, TransportSocket, choose
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.reactor.reactor import Reactor

if TYPE_CHECKING:
    from isthmus_proxy.tls.client import ClientTls
    from isthmus_proxy.tls.factory import TlsFactory
    from isthmus_proxy.tls.model import ClientTlsConfig

HTTP1 = ("http/1.1",)
HTTP2 = ("h2",)
EITHER = ("h2", "http/1.1")
NO_OPTIONS = TransportOptions()


class Securing:
    """A connection on its way: calls ``secured(connection)`` or ``failed(error)``, once and never from within ``start``."""

    __slots__ = ("_connection", "_failed", "_secured")

    def __init__(self, secured: Callable[[Connection], None], failed: Callable[[OSError], None]) -> None:
        self._secured = secured
        self._failed = failed
        self._connection: Connection | None = None

    def wait_for(self, connection: Connection) -> None:
        """The handshake of ``connection`` begins; this is its receiver meanwhile."""
        self._connection = connection

    def done(self) -> None:
        """The handshake is done."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._secured(connection)

    def cancel(self) -> None:
        """Give up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def data_received(self, data: bytes) -> None:
        """Nobody was asked yet."""

    def eof_received(self) -> None:
        """The endpoint closed."""
        self.connection_lost(OSError(errno.ECONNRESET, "closed by the endpoint"))

    def connection_lost(self, error: OSError) -> None:
        """The handshake failed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            self._failed(error)

    def high_watermark_reached(self) -> None:
        """Nothing is written yet."""

    def low_watermark_reached(self) -> None:
        """Nothing is written yet."""

    def drained(self) -> None:
        """Nothing is written yet."""


class Transports:
    """See the module. ``factory`` makes the TLS factory, when it is first asked."""

    __slots__ = ("_factory", "_made", "reactor")

    def __init__(self, reactor: Reactor, factory: Callable[[], TlsFactory]) -> None:
        self.reactor = reactor
        self._factory = factory
        self._made: dict[str, dict[ClientTlsConfig, ClientTls]] = {}

    def of(self, cluster: Cluster, endpoint: Endpoint, criteria: Criteria | None = None) -> TransportSocket | None:
        """The transport socket of an endpoint; None if bytes go as they are.

        ``criteria`` take the place of the endpoint's metadata (transport_socket_match_criteria of health checks).
        """
        config = cluster.config
        found = config.transport
        if config.transport_matches:
            metadata = endpoint.config.transport_metadata if criteria is None else criteria
            name, found = choose(config.transport_matches, found, metadata)
            suffix = f"{name}.total_match_count" if name else "default.total_match_count"
            cluster.stats.scope.counter(f"transport_socket_match.{suffix}").value += 1
        return found or None

    def secure(
        self,
        sock: socket.socket,
        transport: TransportSocket,
        cluster: Cluster,
        endpoint: Endpoint,
        options: TransportOptions,
        alpn: tuple[str, ...],
        securing: Securing,
    ) -> Securing:
        """Begin with what ``transport`` wants on a connected ``sock`` that the reactor watches; answer ``securing``."""
        limit = cluster.config.per_connection_buffer_limit_bytes
        try:
            if transport.proxy_protocol:
                from isthmus_proxy.upstream.proxy_header import proxy_header  # noqa: PLC0415 - few clusters want one

                _send_whole(sock, proxy_header(transport.proxy_protocol, options, sock))
            if transport.tls is None:
                connection = Connection(self.reactor, sock, securing, limit)
                securing.wait_for(connection)
                connection.adopt()
                self.reactor.call_soon(securing.done)
                return securing
            tls = self._tls(cluster, transport.tls)
            made = tls.open(self.reactor, sock, securing, limit, endpoint, cluster.config, options, alpn)
        except (OSError, ConfigError) as error:
            self._refuse(sock, securing, error)
            return securing
        securing.wait_for(made)
        made.adopt()
        made.begin()
        return securing

    def _refuse(self, sock: socket.socket, securing: Securing, error: OSError | ConfigError) -> None:
        connection = Connection(self.reactor, sock, securing, 1)
        securing.wait_for(connection)
        failure = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        self.reactor.call_soon(lambda: securing.connection_lost(failure))

    def _tls(self, cluster: Cluster, config: ClientTlsConfig) -> ClientTls:
        made = self._made.setdefault(cluster.name, {})
        found = made.get(config)
        if found is None:
            found = made[config] = self._factory().client(config, cluster.stats.scope)
        return found

    def config_changed(self, name: str, config: ClusterConfig | None) -> None:
        """Give up the TLS of a cluster that changed or is gone, as far as it is not what the cluster has now."""
        made = self._made.get(name)
        if made is None:
            return
        sockets = (config.transport, *(each.socket for each in config.transport_matches)) if config is not None else ()
        wanted = {each.tls for each in sockets}
        for each in [each for each in made if each not in wanted]:
            self._factory().release(made.pop(each))
        if not made:
            del self._made[name]


def _send_whole(sock: socket.socket, data: bytes) -> None:
    """The first bytes on a new connection, which its buffer takes as a whole."""
    if sock.send(data) != len(data):
        raise OSError(errno.ENOBUFS, "the PROXY header did not fit into the socket's buffer")


def transport_failure(error: OSError) -> str:
    """Why a connection could not be opened, as Envoy's logs say it."""
    reason = getattr(error, "transport_reason", None)
    if isinstance(reason, str):
        return reason.replace(" ", "_")
    words = os.strerror(error.errno) if error.errno else str(error)
    return f"delayed_connect_error:_{words}".replace(" ", "_")
