"""The header of the PROXY protocol, versions 1 and 2, that goes to an endpoint (haproxy.org, proxy-protocol.txt). Pure but for
asking a socket for its names."""

from __future__ import annotations

import ipaddress
import socket

from isthmus_proxy.cluster.transport import TransportOptions

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_TCP4, _TCP6 = 0x11, 0x21

HostPort = tuple[str, int]


def proxy_header(version: int, options: TransportOptions, sock: socket.socket) -> bytes:
    """The header for a connection that is made for a client, or, without one, on the proxy's own account (as Envoy's)."""
    if options.source is None or options.destination is None:
        if version == 2:
            return SIGNATURE + bytes([_VERSION_2 | _LOCAL, 0, 0, 0])
        return version_1(sock.getsockname()[:2], sock.getpeername()[:2])
    make = version_1 if version == 1 else version_2
    return make(options.source, options.destination)


def version_1(source: HostPort, destination: HostPort) -> bytes:
    """A line of text (section 2.1)."""
    family = "TCP6" if ":" in source[0] else "TCP4"
    return f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode("ascii")


def version_2(source: HostPort, destination: HostPort) -> bytes:
    """Binary (section 2.2); addresses of two families are both written as IPv6."""
    first, second = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if first.version != second.version:
        first, second = (
            ipaddress.IPv6Address(f"::ffff:{each}") if each.version == 4 else each for each in (first, second)
        )
    body = first.packed + second.packed + source[1].to_bytes(2) + destination[1].to_bytes(2)
    family = _TCP4 if first.version == 4 else _TCP6
    return SIGNATURE + bytes([_VERSION_2 | _PROXY, family]) + len(body).to_bytes(2) + body
