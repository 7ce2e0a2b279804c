"""A TCP connection being opened, without blocking."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from isthmus_proxy.reactor.reactor import WRITE, Reactor

_IN_PROGRESS = (0, errno.EINPROGRESS)


class Connector:
    """Calls ``connected(socket)`` or ``failed(error)``, once, from the reactor; the socket stays registered there."""

    __slots__ = ("_address", "_connected", "_failed", "_reactor", "_sock")

    def __init__(
        self,
        reactor: Reactor,
        address: tuple[str, int],
        connected: Callable[[socket.socket], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._connected = connected
        self._failed = failed
        self._sock: socket.socket | None = None

    def start(self) -> None:
        """Begin to connect."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._fail_soon(error)
            return
        self._sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._begin(sock)
        if code in _IN_PROGRESS:
            self._reactor.register(sock.fileno(), WRITE, self._ready)
        else:
            self._sock = None
            sock.close()
            self._fail_soon(OSError(code, "connect failed"))

    def _begin(self, sock: socket.socket) -> int:
        try:
            return sock.connect_ex(self._address)
        except OSError as error:  # the address is not an IP literal of this family
            return error.errno or errno.EADDRNOTAVAIL

    def _fail_soon(self, error: OSError) -> None:
        self._reactor.call_soon(lambda: self._failed(error))

    def cancel(self) -> None:
        """Give up."""
        sock, self._sock = self._sock, None
        self._failed = _ignore
        if sock is not None:
            self._reactor.close(sock)

    def _ready(self, _mask: int) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._reactor.close(sock)
            self._failed(OSError(code, "connect failed"))
        else:
            self._connected(sock)


def _ignore(_error: OSError) -> None:
    """A cancelled connector fails silently."""
