"""Opens the sockets of listeners: TCP and Unix-domain, with the options of the configuration, and advice where that fails."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import Address, ListenerConfig, PipeAddress, SocketAddress

_IP_FREEBIND, _IP_TRANSPARENT, _IPV6_TRANSPARENT = 15, 19, 75  # linux/in.h, linux/in6.h


def bind(config: ListenerConfig, address: Address, *, share_port: bool) -> socket.socket:
    """Take one address of a listener, without accepting yet. Raises ConfigError that names it if it cannot be had."""
    family = _family(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _set_options(sock, config)
        if isinstance(address, PipeAddress):
            _bind_pipe(sock, address)
            return sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port and config.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise _refusal(config, address, error) from error
    except ConfigError:
        sock.close()
        raise
    return sock


def adopt(sock: socket.socket, config: ListenerConfig, address: Address) -> socket.socket:
    """Make a socket that another process has bound to ``address`` this listener's. Raises ConfigError, and closes it."""
    try:
        sock.setblocking(False)
        _set_options(sock, config)
        if isinstance(address, PipeAddress) and address.mode and not address.path.startswith("@"):
            os.chmod(address.path, address.mode)  # noqa: PTH101 - as above
    except (OSError, ConfigError) as error:
        sock.close()
        if isinstance(error, ConfigError):
            raise
        raise _refusal(config, address, error) from error
    return sock


def listen(sock: socket.socket, config: ListenerConfig) -> None:
    """Let connections queue on a bound socket. Raises ConfigError, and closes it, if somebody else was faster."""
    try:
        sock.listen(config.tcp_backlog_size)
    except OSError as error:
        address = bound_address(sock)
        sock.close()
        raise _refusal(config, address, error) from error


def bound_address(sock: socket.socket) -> Address:
    """Where a socket is bound."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        return SocketAddress(name[0], name[1])
    return PipeAddress(name if isinstance(name, str) else "@" + name[1:].decode(errors="replace"))


def _family(address: Address) -> socket.AddressFamily:
    if isinstance(address, PipeAddress):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _bind_pipe(sock: socket.socket, address: PipeAddress) -> None:
    """Bind a path; a socket that an earlier process left there is removed first, as Envoy does."""
    if address.path.startswith("@"):
        sock.bind("\0" + address.path[1:])
        return
    path = Path(address.path)
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        pass
    sock.bind(address.path)
    if address.mode:
        os.chmod(address.path, address.mode)  # noqa: PTH101 - Path.chmod would follow a link put there meanwhile


def _set_options(sock: socket.socket, config: ListenerConfig) -> None:
    options = config.socket_options
    six = sock.family == socket.AF_INET6
    for name, wanted, level, number in (
        (
            "transparent",
            options.transparent,
            *((socket.IPPROTO_IPV6, _IPV6_TRANSPARENT) if six else (socket.SOL_IP, _IP_TRANSPARENT)),
        ),
        ("freebind", options.freebind, socket.SOL_IP, _IP_FREEBIND),
    ):
        if wanted:
            _set(sock, config, name, level, number, 1)
    if options.tcp_fast_open_queue_length:
        length = options.tcp_fast_open_queue_length
        _set(sock, config, "tcp_fast_open_queue_length", socket.IPPROTO_TCP, socket.TCP_FASTOPEN, length)
    for index, (level, number, value) in enumerate(options.options):
        _set(sock, config, f"socket_options[{index}]", level, number, value)


def _set(sock: socket.socket, config: ListenerConfig, field: str, level: int, name: int, value: int | bytes) -> None:
    try:
        sock.setsockopt(level, name, value)
    except OSError as error:
        advice = "; it needs CAP_NET_ADMIN" if error.errno == errno.EPERM else ""
        reason = f"cannot be set on the socket: {error.strerror}{advice}"
        raise ConfigError(field, str(value), reason, f"listener {config.name}") from error


def _refusal(config: ListenerConfig, address: Address, error: OSError) -> ConfigError:
    kind = "pipe" if isinstance(address, PipeAddress) else "socket_address"
    return ConfigError(f"address.{kind}", str(address), _advice(error, address), f"listener {config.name}")


def _advice(error: OSError, address: Address) -> str:
    what = f"cannot listen here: {error.strerror}"
    pipe = isinstance(address, PipeAddress)
    if error.errno == errno.EADDRINUSE:
        return f"{what}; " + ("remove the file" if pipe else "stop the process that holds the port, or choose another")
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what}; give an address of this host, or 0.0.0.0"
    if error.errno == errno.EACCES:
        return what if pipe else f"{what}; ports below 1024 need CAP_NET_BIND_SERVICE"
    return what
