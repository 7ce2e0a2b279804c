"""Opens the listening socket of the admin server, and tells where it is."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

from isthmus_proxy.config.bootstrap import Bootstrap
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import SocketAddress


def open_admin(bootstrap: Bootstrap, address_path: Path | None, *, allow_remote: bool) -> socket.socket | None:
    """The listening socket of the admin server, None without one. Tells its address in the file ``address_path``.

    Raises ConfigError for an address that cannot or should not be had.
    """
    address, path = bootstrap.admin, "admin.address.socket_address"
    if address is None:
        return None
    ip = ipaddress.ip_address(address.host)
    if not ip.is_loopback and not allow_remote:
        reason = "the admin port can stop the proxy and shows its configuration; use 127.0.0.1, or --allow-remote-admin"
        raise ConfigError(path, str(address), reason)
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    try:
        sock = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ConfigError(path, str(address), f"cannot listen here: {os.strerror(error.errno or 0)}") from error
    host, port = sock.getsockname()[:2]
    if address_path is not None:
        write_atomically(address_path, str(SocketAddress(host, port)))
    return sock


def write_atomically(path: Path, text: str) -> None:
    """Write a small file that others poll for: it appears whole or not at all. Raises ConfigError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError("--admin-address-path", str(path), f"cannot be written: {error.strerror}") from error
