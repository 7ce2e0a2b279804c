"""Where a redirected connection was going before iptables sent it here (netfilter's SO_ORIGINAL_DST)."""

from __future__ import annotations

import socket
import struct

from isthmus_proxy.listener.model import SocketAddress

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; the same number for IPv6 in linux/netfilter_ipv6/ip6_tables.h
_SOCKADDR_IN, _SOCKADDR_IN6 = 16, 28


def original_destination(sock: socket.socket) -> SocketAddress | None:
    """The destination before it was rewritten; None for a connection that nothing has redirected."""
    try:
        if sock.family == socket.AF_INET:
            raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, _SOCKADDR_IN)
            return read_sockaddr_in(raw)
        if sock.family == socket.AF_INET6:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, _SOCKADDR_IN6)
            return read_sockaddr_in6(raw)
    except OSError:
        return None  # no connection tracking, or none for this connection
    return None


def read_sockaddr_in(raw: bytes) -> SocketAddress:
    """A ``struct sockaddr_in`` as the kernel writes it."""
    port, host = struct.unpack_from("!2xH4s", raw)
    return SocketAddress(socket.inet_ntop(socket.AF_INET, host), port)


def read_sockaddr_in6(raw: bytes) -> SocketAddress:
    """A ``struct sockaddr_in6`` as the kernel writes it."""
    port, host = struct.unpack_from("!2xH4x16s", raw)
    return SocketAddress(socket.inet_ntop(socket.AF_INET6, host), port)
