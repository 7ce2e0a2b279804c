"""Which filter chain serves a connection: Envoy's nine criteria in Envoy's order, compiled into nested tables. Pure.

At each level the most specific entry that fits is followed and no other: a connection to a port that some chain names is
never served by a chain that names none, even when a later criterion fails (listener_components.proto, FilterChainMatch).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Generic, NamedTuple, TypeVar

from isthmus_proxy.listener.accepted_socket import RAW_BUFFER, AcceptedSocket
from isthmus_proxy.listener.model import Address, FilterChainMatch, IpNetwork, SocketAddress
from isthmus_proxy.listener.prefix_table import EVERYWHERE, PrefixTable

C = TypeVar("C")

ANY, SAME_IP_OR_LOOPBACK, EXTERNAL = "ANY", "SAME_IP_OR_LOOPBACK", "EXTERNAL"

_SourcePorts = dict[int, C]
_Sources = PrefixTable[_SourcePorts[C]]
_SourceTypes = dict[str, _Sources[C]]
_DirectSources = PrefixTable[_SourceTypes[C]]
_ApplicationProtocols = dict[str, _DirectSources[C]]
_TransportProtocols = dict[str, _ApplicationProtocols[C]]
_ServerNames = dict[str, _TransportProtocols[C]]
_Destinations = PrefixTable[_ServerNames[C]]


class OverlapError(ValueError):
    """Some connections would fit two chains equally well."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[C]):
    """A chain and its criteria."""

    match: FilterChainMatch
    chain: C


class _Row(NamedTuple):
    """One combination of the alternatives that the criteria of a chain name."""

    destination: IpNetwork
    server_name: str
    application_protocol: str
    direct_source: IpNetwork
    source: IpNetwork
    source_port: int


class FilterChainIndex(Generic[C]):
    """The chains of one listener. ``find`` answers the chain for a connection, or the default one, or None."""

    __slots__ = ("_default", "_ports", "always")

    def __init__(self, candidates: Iterable[Candidate[C]], default: C | None = None) -> None:
        """Raises OverlapError for criteria that leave a choice."""
        self._default = default
        self._ports: dict[int, _Destinations[C]] = {}
        found = list(candidates)
        for candidate in found:
            self._add(candidate.match, candidate.chain)
        for table in _tables(self._ports.values()):
            table.compile()
        alone = len(found) == 1 and found[0].match == FilterChainMatch()
        self.always: C | None = found[0].chain if alone else (default if not found else None)

    def find(self, accepted: AcceptedSocket) -> C | None:
        """The chain that serves ``accepted``."""
        if self.always is not None:
            return self.always
        local = accepted.local
        ports = self._ports
        destinations = ports.get(local.port) if isinstance(local, SocketAddress) else None
        if destinations is None:
            destinations = ports.get(0)
        chain = _by_destination(destinations, accepted) if destinations is not None else None
        return chain if chain is not None else self._default

    def _add(self, match: FilterChainMatch, chain: C) -> None:
        destinations = self._ports.setdefault(match.destination_port, PrefixTable())
        for row in _rows(match):
            names = destinations.setdefault(row.destination, {})
            transports = names.setdefault(row.server_name, {})
            protocols = transports.setdefault(match.transport_protocol, {})
            direct_sources = protocols.setdefault(row.application_protocol, PrefixTable())
            types = direct_sources.setdefault(row.direct_source, {})
            sources = types.setdefault(match.source_type, PrefixTable())
            source_ports = sources.setdefault(row.source, {})
            if source_ports.setdefault(row.source_port, chain) is not chain:
                raise OverlapError("multiple filter chains with overlapping matching rules are defined")


def _rows(match: FilterChainMatch) -> Iterator[_Row]:
    names = [name.removeprefix("*").lower() for name in match.server_names]
    for parts in product(
        match.prefix_ranges or EVERYWHERE,
        names or [""],
        match.application_protocols or [""],
        match.direct_source_prefix_ranges or EVERYWHERE,
        match.source_prefix_ranges or EVERYWHERE,
        match.source_ports or [0],
    ):
        yield _Row(*parts)


def _tables(
    ports: Iterable[_Destinations[C]],
) -> Iterator[PrefixTable[_ServerNames[C]] | _DirectSources[C] | _Sources[C]]:
    for destinations in ports:
        yield destinations
        for names in destinations.values():
            for transports in names.values():
                for protocols in transports.values():
                    for direct_sources in protocols.values():
                        yield direct_sources
                        for types in direct_sources.values():
                            yield from types.values()


def _by_destination(destinations: _Destinations[C], accepted: AcceptedSocket) -> C | None:
    names = destinations.find(_host(accepted.local))
    if names is None:
        return None
    for name in _server_names(accepted.server_name):
        transports = names.get(name)
        if transports is not None:
            return _by_transport_protocol(transports, accepted)
    return None


def _server_names(name: str) -> Iterator[str]:
    """The name, its wildcards from the longest, and no name at all."""
    if name:
        yield name
        dot = name.find(".", 1)
        while 0 < dot < len(name) - 1:
            yield name[dot:]
            dot = name.find(".", dot + 1)
    yield ""


def _by_transport_protocol(transports: _TransportProtocols[C], accepted: AcceptedSocket) -> C | None:
    protocols = transports.get(accepted.transport_protocol or RAW_BUFFER)
    if protocols is None:
        protocols = transports.get("")
    if protocols is None:
        return None
    for protocol in (*accepted.application_protocols, ""):
        direct_sources = protocols.get(protocol)
        if direct_sources is not None:
            return _by_direct_source(direct_sources, accepted)
    return None


def _by_direct_source(direct_sources: _DirectSources[C], accepted: AcceptedSocket) -> C | None:
    types = direct_sources.find(_host(accepted.direct_remote))
    if types is None:
        return None
    sources: _Sources[C] | None = None
    if len(types) > 1 or ANY not in types:
        sources = types.get(SAME_IP_OR_LOOPBACK if is_same_ip_or_loopback(accepted) else EXTERNAL)
    if sources is None:
        sources = types.get(ANY)
    return _by_source(sources, accepted.remote) if sources is not None else None


def _by_source(sources: _Sources[C], remote: Address) -> C | None:
    ports = sources.find(_host(remote))
    if ports is None:
        return None
    chain = ports.get(remote.port) if isinstance(remote, SocketAddress) else None
    return chain if chain is not None else ports.get(0)


def is_same_ip_or_loopback(accepted: AcceptedSocket) -> bool:
    """Whether a connection comes from this host: from a pipe, a loopback address or the address that it goes to."""
    remote, local = accepted.remote, accepted.local
    if not isinstance(remote, SocketAddress):
        return True
    if isinstance(local, SocketAddress) and remote.host == local.host:
        return True
    return ipaddress.ip_address(remote.host).is_loopback


def _host(address: Address) -> str:
    return address.host if isinstance(address, SocketAddress) else ""
