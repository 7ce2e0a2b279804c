"""Listening sockets that came from the process before this one, for the listeners that have their addresses now."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from isthmus_proxy.listener.model import Address, SocketAddress


class InheritedSockets:
    """By name of the listener and configured address. A listener of another name gets the socket of its address, too.

    What is given out is a duplicate: the sockets stay until ``close``, so that a listener that fails and comes again finds its own.
    """

    __slots__ = ("_by_address", "_by_name")

    def __init__(self, socks: Mapping[tuple[str, str], socket.socket]) -> None:
        self._by_name = dict(socks)
        self._by_address = {address: sock for (_, address), sock in socks.items()}

    def find(self, listener: str, address: Address) -> socket.socket | None:
        """A socket that listens on ``address`` (as configured; with port 0 only that of the same listener)."""
        key = str(address)
        sock = self._by_name.get((listener, key))
        if sock is None and not (isinstance(address, SocketAddress) and not address.port):
            sock = self._by_address.get(key)
        return sock.dup() if sock is not None else None

    def close(self) -> None:
        """Give up what no listener took."""
        for sock in self._by_name.values():
            sock.close()
        self._by_name.clear()
        self._by_address.clear()
