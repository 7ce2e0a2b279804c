"""PROXY headers towards endpoints read back by the parser of those from clients."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.listener.model import SocketAddress
from isthmus_proxy.listener.proxy_protocol import read_proxy_header
from isthmus_proxy.upstream.proxy_header import version_1, version_2

PORTS = st.integers(0, 65535)
Make = Callable[[tuple[str, int], tuple[str, int]], bytes]


@pytest.mark.parametrize("make", [version_1, version_2])
@given(source=st.ip_addresses(v=4), destination=st.ip_addresses(v=4), ports=st.tuples(PORTS, PORTS))
def test_read_back(
    make: Make, source: ipaddress.IPv4Address, destination: ipaddress.IPv4Address, ports: tuple[int, int]
) -> None:
    data = make((str(source), ports[0]), (str(destination), ports[1]))
    header = read_proxy_header(data + b"more")
    assert header is not None
    assert header.size == len(data)
    assert header.source == SocketAddress(str(source), ports[0])
    assert header.destination == SocketAddress(str(destination), ports[1])


def test_two_families_are_both_ipv6_in_version_2() -> None:
    header = read_proxy_header(version_2(("192.0.2.1", 5), ("2001:db8::1", 6)))
    assert header is not None
    assert str(header.destination) == "[2001:db8::1]:6"
    assert isinstance(header.source, SocketAddress)
    assert ipaddress.IPv6Address(header.source.host).ipv4_mapped == ipaddress.IPv4Address("192.0.2.1")


def test_six() -> None:
    assert version_1(("2001:db8::1", 5), ("2001:db8::2", 6)) == b"PROXY TCP6 2001:db8::1 2001:db8::2 5 6\r\n"
