"""This machine's address as other machines see it: what Envoy puts into x-forwarded-for for a client on the loopback."""

from __future__ import annotations

import fcntl
import socket
import struct
from functools import lru_cache

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_IFREQ = "256s"


@lru_cache(maxsize=1)
def node_address() -> bytes:
    """The first IPv4 address of an interface that is not the loopback; 127.0.0.1 if there is none. Looked up once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack(_IFREQ, name.encode()[:15]))
            except OSError:  # the interface has no IPv4 address
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address.encode()
    return b"127.0.0.1"


def announced(peer: bytes) -> bytes:
    """The address under which a client at ``peer`` is announced to others. Of 127.0.0.0/8 only .1 is replaced, as in Envoy."""
    return node_address() if peer in (b"127.0.0.1", b"::1") else peer
