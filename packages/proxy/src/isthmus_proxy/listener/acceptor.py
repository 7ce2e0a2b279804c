"""A listening socket in the reactor: takes what waits, a bounded number at a time, and survives running out of descriptors."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import ListenerConfig, SocketAddress
from isthmus_proxy.reactor.reactor import READ, Reactor

_log = logging.getLogger(__name__)

ACCEPTS_PER_BATCH = 32
"""New connections taken in one batch: existing ones must not wait for a flood of new ones."""

RETRY_AFTER = 0.1
"""Seconds without accepting after the process or the system ran out of descriptors or memory."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accepted = Callable[[socket.socket, tuple[str, int]], None]


def bind(config: ListenerConfig, *, share_port: bool) -> socket.socket:
    """Take the address of a listener, without accepting yet. Raises ConfigError that names it if it cannot be had."""
    address = config.address
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port and config.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise _refusal(config, error) from error
    return sock


def listen(sock: socket.socket, config: ListenerConfig) -> None:
    """Let connections queue on a bound socket. Raises ConfigError, and closes it, if somebody else was faster."""
    try:
        sock.listen(config.tcp_backlog_size)
    except OSError as error:
        sock.close()
        raise _refusal(config, error) from error


def _refusal(config: ListenerConfig, error: OSError) -> ConfigError:
    return ConfigError("address.socket_address", str(config.address), _advice(error), f"listener {config.name}")


def _advice(error: OSError) -> str:
    what = f"cannot listen here: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return f"{what}; stop the process that holds the port, or choose another"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what}; give an address of this host, or 0.0.0.0"
    if error.errno == errno.EACCES:
        return f"{what}; ports below 1024 need CAP_NET_BIND_SERVICE"
    return what


class Acceptor:
    """Accepts on ``sock`` and calls ``accepted(socket, peer)`` with each connection, non-blocking and without delay."""

    __slots__ = ("_accepted", "_exhausted", "_reactor", "_sock", "address")

    def __init__(
        self, reactor: Reactor, sock: socket.socket, accepted: Accepted, exhausted: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._sock: socket.socket | None = sock
        self._accepted = accepted
        self._exhausted = exhausted
        host, port = sock.getsockname()[:2]
        self.address = SocketAddress(host, port)
        reactor.register(sock.fileno(), READ, self._ready)

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._sock is not None

    def close(self) -> None:
        """Take no more connections."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._reactor.close(sock)

    def _ready(self, _mask: int) -> None:
        for _ in range(ACCEPTS_PER_BATCH):
            sock = self._sock
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

    def _take(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            connection.close()
            return
        self._accepted(connection, peer)

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: the kernel's queue holds the clients until some are free again."""
        self._exhausted()
        _log.warning("accepting on %s pauses for %.1f s: %s", self.address, RETRY_AFTER, error.strerror)
        if self._sock is not None:
            self._reactor.modify(self._sock.fileno(), 0)
            self._reactor.call_later(RETRY_AFTER, self._go_on)

    def _go_on(self) -> None:
        if self._sock is not None:
            self._reactor.modify(self._sock.fileno(), READ)
