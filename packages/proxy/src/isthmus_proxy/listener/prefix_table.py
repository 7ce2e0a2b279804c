"""Longest-prefix match of IP addresses: one dictionary a prefix length, asked from the longest to the shortest. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Generic, TypeVar

from isthmus_proxy.listener.model import IpNetwork

V = TypeVar("V")

EVERYWHERE: tuple[IpNetwork, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
"""What no prefix at all stands for."""

_BITS = {4: 32, 6: 128}


class PrefixTable(Generic[V]):
    """Values by prefix. ``find`` answers that of the longest prefix around an address, and never a shorter one's."""

    __slots__ = ("_lengths", "_only", "_values")

    def __init__(self) -> None:
        self._values: dict[IpNetwork, V] = {}
        self._lengths: dict[int, list[tuple[int, dict[int, V]]]] = {4: [], 6: []}  # by version, longest prefix first
        self._only: V | None = None  # the value of all addresses, where there is just that

    def setdefault(self, network: IpNetwork, value: V) -> V:
        """The value of ``network``, which is ``value`` if it had none."""
        return self._values.setdefault(network, value)

    def values(self) -> Iterator[V]:
        """Every value, as often as it has prefixes."""
        return iter(self._values.values())

    def compile(self) -> None:
        """Make ``find`` see what ``setdefault`` has put in."""
        lengths: dict[tuple[int, int], dict[int, V]] = {}
        for network, value in self._values.items():
            by_address = lengths.setdefault((network.version, network.prefixlen), {})
            by_address[int(network.network_address)] = value
        for version, found in self._lengths.items():
            found[:] = [
                (_BITS[version] - length, values)
                for (of, length), values in sorted(lengths.items(), key=lambda item: item[0], reverse=True)
                if of == version
            ]
        if set(self._values) == set(EVERYWHERE) and len({id(value) for value in self._values.values()}) == 1:
            self._only = self._values[EVERYWHERE[0]]

    def find(self, host: str) -> V | None:
        """The value for an IP address literal; one that is none (a pipe's) counts as 0.0.0.0, as in Envoy."""
        if self._only is not None:
            return self._only
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = ipaddress.IPv4Address(0)
        number = int(address)
        for shift, values in self._lengths[address.version]:
            found = values.get(number >> shift << shift)
            if found is not None:
                return found
        return None
