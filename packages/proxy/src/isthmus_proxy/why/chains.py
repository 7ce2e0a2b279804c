"""Why a filter chain does or does not take a connection."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from isthmus_proxy.listener.accepted_socket import RAW_BUFFER, AcceptedSocket
from isthmus_proxy.listener.filter_chain_match import ANY, SAME_IP_OR_LOOPBACK, is_same_ip_or_loopback
from isthmus_proxy.listener.model import Address, FilterChain, FilterChainMatch, IpNetwork, SocketAddress

_Row = dict[str, object]


def explain_chains(
    chains: Iterable[FilterChain], default: FilterChain | None, chosen: FilterChain | None, accepted: AcceptedSocket
) -> Iterator[_Row]:
    """One row for each chain of a listener. ``chosen`` is what the listener's index found."""
    for index, chain in enumerate(chains):
        row: _Row = {"name": chain.name, "index": index, "chosen": chain is chosen}
        if chain is not chosen:
            row["why_not"] = mismatch(chain.match, accepted) or (
                "all its criteria fit, but another chain is more specific in a criterion that counts before; "
                "only the most specific value of each is followed"
            )
        yield row
    if default is not None:
        row = {"name": default.name, "default": True, "chosen": default is chosen}
        if default is not chosen:
            row["why_not"] = "another chain fits"
        yield row


def mismatch(match: FilterChainMatch, accepted: AcceptedSocket) -> str:
    """The first criterion, in the order in which they count, that does not fit; empty if all fit."""
    for criterion, fits, wanted, found in _criteria(match, accepted):
        if not fits:
            return f"{criterion} must be {wanted}, and is {found or 'not known'}"
    return ""


def _criteria(match: FilterChainMatch, accepted: AcceptedSocket) -> Iterator[tuple[str, bool, str, str]]:
    local, remote, direct = accepted.local, accepted.remote, accepted.direct_remote
    port = match.destination_port
    yield "destination port", not port or _port(local) == port, str(port), str(_port(local) or "")
    yield "destination address", *_within(match.prefix_ranges, local)
    names, name = match.server_names, accepted.server_name
    yield "server name", not names or any(_named(each, name) for each in names), " or ".join(names), name
    transport = accepted.transport_protocol or RAW_BUFFER
    yield "transport protocol", match.transport_protocol in ("", transport), match.transport_protocol, transport
    wanted, offered = match.application_protocols, accepted.application_protocols
    yield "application protocol", not wanted or bool({*wanted} & {*offered}), " or ".join(wanted), ", ".join(offered)
    yield "directly connected peer", *_within(match.direct_source_prefix_ranges, direct)
    near = is_same_ip_or_loopback(accepted)
    fits = match.source_type == ANY or (match.source_type == SAME_IP_OR_LOOPBACK) == near
    yield "source type", fits, match.source_type, "this host" if near else "another host"
    yield "source address", *_within(match.source_prefix_ranges, remote)
    ports = match.source_ports
    yield "source port", not ports or _port(remote) in ports, " or ".join(map(str, ports)), str(_port(remote) or "")


def _within(ranges: tuple[IpNetwork, ...], address: Address) -> tuple[bool, str, str]:
    if not isinstance(address, SocketAddress):
        return not ranges, " or ".join(map(str, ranges)), str(address)
    ip = ipaddress.ip_address(address.host)
    return not ranges or any(ip in each for each in ranges), "in " + " or ".join(map(str, ranges)), address.host


def _port(address: Address) -> int:
    return address.port if isinstance(address, SocketAddress) else 0


def _named(wanted: str, name: str) -> bool:
    return (
        name.endswith(wanted[1:].lower()) and len(name) > len(wanted) - 1
        if wanted[0] == "*"
        else name == wanted.lower()
    )
