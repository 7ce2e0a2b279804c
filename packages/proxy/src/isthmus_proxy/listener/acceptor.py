"""A listening socket in the reactor: takes what waits, a bounded number at a time, and survives running out of descriptors."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable

from isthmus_proxy.listener.listening_socket import bound_address
from isthmus_proxy.listener.model import Address, PipeAddress, SocketAddress
from isthmus_proxy.reactor.reactor import READ, Reactor

_log = logging.getLogger(__name__)

ACCEPTS_PER_BATCH = 32
"""New connections taken in one batch: existing ones must not wait for a flood of new ones."""

RETRY_AFTER = 0.1
"""Seconds without accepting after the process or the system ran out of descriptors or memory."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accepted = Callable[[socket.socket, Address, Address], None]
"""Called with the connection, its peer and its own address."""

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class Acceptor:
    """Accepts on ``sock`` and calls ``accepted`` with each connection, non-blocking and without delay."""

    __slots__ = ("_accepted", "_exhausted", "_held", "_local", "_reactor", "address", "sock")

    def __init__(
        self, reactor: Reactor, sock: socket.socket, accepted: Accepted, exhausted: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self.sock: socket.socket | None = sock
        self._accepted = accepted
        self._exhausted = exhausted
        self._held = False
        self.address = bound_address(sock)
        wildcard = isinstance(self.address, SocketAddress) and self.address.host in _WILDCARDS
        self._local: Address | None = None if wildcard else self.address
        reactor.register(sock.fileno(), READ, self._ready)

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self.sock is not None

    def close(self) -> None:
        """Take no more connections."""
        sock, self.sock = self.sock, None
        if sock is not None:
            self._reactor.close(sock)

    def _ready(self, _mask: int) -> None:
        for _ in range(ACCEPTS_PER_BATCH):
            sock = self.sock
            if sock is None:
                return
            try:
                connection, peer = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # the client gave up before it was accepted
                self._pause(error)
                return
            self._take(connection, peer)

    def _take(self, connection: socket.socket, peer: tuple[str, int] | str | bytes) -> None:
        try:
            connection.setblocking(False)
            if isinstance(peer, tuple):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = self._local or bound_address(connection)
        except OSError:
            connection.close()
            return
        remote = SocketAddress(peer[0], peer[1]) if isinstance(peer, tuple) else PipeAddress("")
        self._accepted(connection, remote, local)

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: the kernel's queue holds the clients until some are free again."""
        self._exhausted()
        _log.warning("accepting on %s pauses for %.1f s: %s", self.address, RETRY_AFTER, error.strerror)
        if self.sock is not None:
            self._reactor.modify(self.sock.fileno(), 0)
            self._reactor.call_later(RETRY_AFTER, self._go_on)

    def hold(self, *, held: bool) -> None:
        """Leave new connections in the kernel's queue, or (no longer ``held``) take them again."""
        self._held = held
        if self.sock is not None:
            self._reactor.modify(self.sock.fileno(), 0 if held else READ)

    def _go_on(self) -> None:
        if self.sock is not None and not self._held:
            self._reactor.modify(self.sock.fileno(), READ)
