"""Opens a connection to an endpoint: TCP, and what its transport socket says comes before anything else.

An endpoint with several addresses gets an attempt at each in turn, begun when the one before fails or has taken 300 ms; the
first that is through with everything, TLS included, wins and the others are given up (RFC 8305, as Envoy does it).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from isthmus_proxy.cluster.addresses import Address, TcpKeepalive, attempt_order
from isthmus_proxy.cluster.cluster import Cluster
from isthmus_proxy.cluster.endpoint import Endpoint
from isthmus_proxy.cluster.transport import TransportOptions
from isthmus_proxy.http.stream_info import UpstreamEnd
from isthmus_proxy.reactor.connection import Connection, Receiver
from isthmus_proxy.reactor.reactor import Timer
from isthmus_proxy.upstream.connector import Connector
from isthmus_proxy.upstream.transports import Securing, Transports

CONNECTION_ATTEMPT_DELAY: Final = 0.3
"""Seconds until the next address is tried beside those that have not answered."""


class Connecting:
    """See the module. Calls ``opened(connection)`` or ``failed(error)``, once, never from within ``start``.

    ``receiver`` hears of the connection once it is open; ``options`` and ``alpn`` are those of ``Transports.secure``.
    The owner keeps the deadline, and tells by ``cancel`` when it is over.
    """

    __slots__ = (
        "_alpn", "_attempts", "_cluster", "_endpoint", "_failed", "_limit", "_opened", "_options", "_receiver", "_timer", "_transports",
        "_untried",
    )  # fmt: skip

    def __init__(
        self,
        transports: Transports,
        cluster: Cluster,
        endpoint: Endpoint,
        options: TransportOptions,
        alpn: tuple[str, ...],
        receiver: Receiver,
        limit: int,
        opened: Callable[[Connection], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._transports = transports
        self._cluster = cluster
        self._endpoint = endpoint
        self._options = options
        self._alpn = alpn
        self._receiver = receiver
        self._limit = limit
        self._opened = opened
        self._failed = failed
        self._attempts: list[_Attempt] = []
        self._untried: list[Address] | None = None
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin."""
        endpoint = self._endpoint
        additional = endpoint.config.additional_addresses
        if not additional:
            self._attempt(endpoint.address)
            return
        untried = attempt_order((endpoint.address, *additional), self._cluster.config.happy_eyeballs)
        self._timer = self._transports.reactor.timer(self._try_next)
        self._attempt(untried.pop(0))
        self._untried = untried
        self._wait()

    def _wait(self) -> None:
        if self._timer is not None and self._untried:
            self._timer.set(self._transports.reactor.now + CONNECTION_ATTEMPT_DELAY)

    def _try_next(self) -> None:
        if self._untried:
            self._endpoint.cx_total += 1
            self._cluster.stats.upstream_cx_total.value += 1
            self._attempt(self._untried.pop(0))
            self._wait()

    def _attempt(self, address: Address) -> None:
        attempt = _Attempt(self)
        self._attempts.append(attempt)
        attempt.start(self._transports, address)

    def cancel(self) -> None:
        """Give up."""
        attempts, self._attempts = self._attempts, []
        if self._timer is not None:
            self._timer.discard()
        for attempt in attempts:
            attempt.cancel()

    def connected(self, attempt: _Attempt, sock: socket.socket) -> Securing | None:
        """``sock`` is connected. Answer what comes before it can be used; None if that is nothing."""
        cluster, endpoint = self._cluster, self._endpoint
        if cluster.config.tcp_keepalive is not None:
            _keep_alive(sock, cluster.config.tcp_keepalive)
        transport = self._transports.of(cluster, endpoint)
        if transport is not None:
            securing = Securing(attempt.secured, attempt.failed)
            return self._transports.secure(sock, transport, cluster, endpoint, self._options, self._alpn, securing)
        connection = Connection(self._transports.reactor, sock, self._receiver, self._limit)
        connection.adopt()
        self._won(attempt, connection)
        return None

    def secured(self, attempt: _Attempt, connection: Connection) -> None:
        """The transport socket of ``attempt`` is done."""
        connection.set_receiver(self._receiver)
        self._won(attempt, connection)

    def _won(self, attempt: _Attempt, connection: Connection) -> None:
        self._attempts.remove(attempt)
        self.cancel()
        self._opened(connection)

    def lost(self, attempt: _Attempt, error: OSError) -> None:
        """``attempt`` failed: go on with the next address at once, or give up with the last."""
        self._attempts.remove(attempt)
        if self._untried:
            self._try_next()
        elif not self._attempts:
            self.cancel()
            self._failed(error)


class _Attempt:
    """One address: being connected, then being secured."""

    __slots__ = ("_owner", "_stage")

    def __init__(self, owner: Connecting) -> None:
        self._owner = owner
        self._stage: Connector | Securing | None = None

    def start(self, transports: Transports, address: Address) -> None:
        """Begin."""
        connector = self._stage = Connector(transports.reactor, address, self._connected, self.failed)
        connector.start()

    def _connected(self, sock: socket.socket) -> None:
        self._stage = None
        self._stage = self._owner.connected(self, sock)

    def secured(self, connection: Connection) -> None:
        """See Securing."""
        self._owner.secured(self, connection)

    def failed(self, error: OSError) -> None:
        """See Connector and Securing."""
        self._owner.lost(self, error)

    def cancel(self) -> None:
        """Give up."""
        if self._stage is not None:
            self._stage.cancel()


def _keep_alive(sock: socket.socket, config: TcpKeepalive) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, config.probes),
        (socket.TCP_KEEPIDLE, config.idle),
        (socket.TCP_KEEPINTVL, config.interval),
    ):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def end_of(connection: Connection) -> UpstreamEnd:
    """Both ends of a connection to an endpoint, for logs."""
    try:
        return UpstreamEnd(_shown(connection.sock.getsockname()), _shown(connection.sock.getpeername()), connection.tls)
    except OSError:  # it is gone already
        return UpstreamEnd("", "", connection.tls)


def _shown(address: tuple[str, int]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
