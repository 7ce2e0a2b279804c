"""Who sent a request, and whether it may be trusted: x-forwarded-for, trusted hops, internal addresses (Envoy's rules). Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from isthmus_proxy.listener.model import HttpConnectionManagerConfig, IpNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Vantage:
    """What a connection manager reads of a connection: the client's address, the local port, and what TLS says.

    Connections that are alike share one, so that it can be looked up by identity. ``announced`` is the address that goes
    into x-forwarded-for: the client's, or this machine's for a client on it. ``mutual``: the client showed a certificate;
    ``client_cert`` is what x-forwarded-client-cert says of it.
    """

    peer: bytes
    port: int
    announced: bytes
    scheme: bytes = b"http"
    mutual: bool = False
    client_cert: bytes = b""


@dataclass(frozen=True, slots=True)
class Client:
    """The original client of one request.

    ``address`` is the trusted address; ``detected``: it comes from x-forwarded-for, not from the connection. ``internal``: it
    may use the headers that steer this proxy. ``edge``: this proxy is the first trusted one, so what the client says of
    itself counts for nothing.
    """

    address: bytes
    detected: bool
    internal: bool
    edge: bool


def client_of(forwarded_for: bytes, config: HttpConnectionManagerConfig, vantage: Vantage) -> Client:
    """The client of a request with the x-forwarded-for value ``forwarded_for`` (empty if it has none)."""
    hops = config.xff_num_trusted_hops
    if config.use_remote_address:
        found = last_address(forwarded_for, hops - 1) if hops else None
        alone = not forwarded_for
    else:
        found = last_address(forwarded_for, hops)
        alone = found is not None and not hops and b"," not in forwarded_for
    address = found or vantage.peer
    internal = alone and within(address, config.internal_ranges)
    return Client(address, found is not None, internal, config.use_remote_address and not internal)


def last_address(forwarded_for: bytes, skip: int) -> bytes | None:
    """The last address but ``skip`` of an x-forwarded-for value; None if there are not so many, or if it is no address."""
    chain = forwarded_for.split(b",")
    if len(chain) <= skip:
        return None
    candidate = chain[-1 - skip].strip(b" \t")
    try:
        return str(ipaddress.ip_address(candidate.decode("ascii"))).encode()
    except ValueError:
        return None


def within(address: bytes, ranges: tuple[IpNetwork, ...]) -> bool:
    """Whether ``address`` lies in one of ``ranges``."""
    if not ranges:
        return False
    parsed = ipaddress.ip_address(address.decode("ascii"))
    return any(parsed in each for each in ranges if each.version == parsed.version)
