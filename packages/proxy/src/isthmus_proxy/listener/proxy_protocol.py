"""The PROXY protocol header, version 1 and 2 (haproxy.org, doc/proxy-protocol.txt): who the client behind a proxy is. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from isthmus_proxy.listener.model import SocketAddress

V1, V2 = 1, 2
MAX_BYTES = 16 + 65535
"""The longest header there can be (version 2 with all its TLVs)."""

_V1_START = b"PROXY "
_V1_MAX = 107
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}  # TCP over IPv4 and over IPv6


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header of ``size`` bytes. ``source`` is None where the sender speaks for itself (LOCAL, UNKNOWN)."""

    version: int
    size: int
    source: SocketAddress | None = None
    destination: SocketAddress | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


class NoProxyHeader(Exception):  # noqa: N818 - what it means is up to the configuration
    """The bytes begin something else."""


class BadProxyHeaderError(Exception):
    """The bytes begin like a header and are none. ``version`` is the one that they begin like."""

    def __init__(self, version: int, reason: str) -> None:
        super().__init__(version, reason)
        self.version = version


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse ``data``, everything that was received so far; None if that is not all of a header yet.

    Raises NoProxyHeader and BadProxyHeaderError.
    """
    if data.startswith(_V2_SIGNATURE):
        return _read_v2(data)
    if data.startswith(_V1_START):
        return _read_v1(data)
    if _V2_SIGNATURE.startswith(data) or _V1_START.startswith(data):
        return None
    raise NoProxyHeader


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_MAX)
    if end < 0:
        if len(data) >= _V1_MAX:
            raise BadProxyHeaderError(V1, f"no end of line within {_V1_MAX} bytes")
        return None
    words = data[:end].decode("latin-1").split(" ")
    size = end + 2
    if words[1] == "UNKNOWN":
        return ProxyHeader(V1, size)
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise BadProxyHeaderError(V1, "needs a protocol, two addresses and two ports")
    _, family, source, destination, source_port, destination_port = words
    version = 4 if family == "TCP4" else 6
    return ProxyHeader(
        V1, size, _address(source, source_port, version), _address(destination, destination_port, version)
    )


def _address(host: str, port: str, version: int) -> SocketAddress:
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise BadProxyHeaderError(V1, "an address cannot be read") from error
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if address.version != version or "%" in host or not digits or int(port) > 65535:
        raise BadProxyHeaderError(V1, "an address or a port is none")
    return SocketAddress(str(address), int(port))


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    command, family = data[12], data[13]
    size = 16 + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeaderError(V2, "the version is not 2 or the command neither LOCAL nor PROXY")
    width = _ADDRESS_BYTES.get(family)
    if command == _PROXY and family and (width is None or size < 16 + 2 * width + 4):
        raise BadProxyHeaderError(V2, "an address family other than TCP over IP, or too short for its addresses")
    if len(data) < size:
        return None
    if command == _LOCAL or width is None:
        return ProxyHeader(V2, size)
    hosts, ports = data[16 : 16 + 2 * width], data[16 + 2 * width : 20 + 2 * width]
    return ProxyHeader(
        V2,
        size,
        SocketAddress(str(ipaddress.ip_address(hosts[:width])), int.from_bytes(ports[:2])),
        SocketAddress(str(ipaddress.ip_address(hosts[width:])), int.from_bytes(ports[2:])),
        _tlvs(data[20 + 2 * width : size]),
    )


def _tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 1 : at + 3])
        value = data[at + 3 : at + 3 + length]
        if len(data) < at + 3 or len(value) != length:
            raise BadProxyHeaderError(V2, "a TLV is longer than the header")
        found.append((data[at], value))
        at += 3 + length
    return tuple(found)
