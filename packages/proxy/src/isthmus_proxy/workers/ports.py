"""The addresses of the bootstrap's listeners, taken once by the parent before there are workers.

Conflicts end the program with one message instead of one a worker; port 0 becomes the same number for all. Where workers
cannot have sockets of their own (pipes, ``enable_reuse_port: false``) they share the parent's.
"""

from __future__ import annotations

import socket
from dataclasses import replace

from isthmus_proxy.config.bootstrap import Bootstrap
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.listening_socket import bind, bound_address, listen
from isthmus_proxy.listener.model import Address, ListenerConfig, PipeAddress


class Ports:
    """Open until ``close``. ``bootstrap`` is the given one with numbers for its ports."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        """Raises ConfigError for an address that cannot be had."""
        self._held: list[socket.socket] = []
        self.shared: dict[tuple[str, Address], socket.socket] = {}
        try:
            self.bootstrap = replace(bootstrap, listeners=tuple(map(self._take, bootstrap.listeners)))
        except ConfigError:
            self.close()
            raise

    def _take(self, config: ListenerConfig) -> ListenerConfig:
        if not config.bind_to_port:
            return config
        addresses = [self._take_address(config, address) for address in config.addresses]
        return replace(config, address=addresses[0], additional_addresses=tuple(addresses[1:]))

    def _take_address(self, config: ListenerConfig, address: Address) -> Address:
        sock = bind(config, address, share_port=True)
        self._held.append(sock)
        if isinstance(address, PipeAddress) or not config.reuse_port:
            listen(sock, config)
            bound = address if isinstance(address, PipeAddress) else bound_address(sock)
            self.shared[config.name, bound] = sock
            return bound
        return bound_address(sock)

    def close(self) -> None:
        """Give the addresses up."""
        for sock in self._held:
            sock.close()
