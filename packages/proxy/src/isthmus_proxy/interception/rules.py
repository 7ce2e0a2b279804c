"""The rules, as text for iptables-restore and ip6tables-restore. Pure.

Two chains of the nat table decide (``ISTHMUS_INBOUND`` from PREROUTING, ``ISTHMUS_OUTPUT`` from OUTPUT), two redirect. The
proxy's own connections are known by the user or group that it runs as and always pass, so nothing goes round in circles.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

INBOUND, OUTPUT = "ISTHMUS_INBOUND", "ISTHMUS_OUTPUT"
TO_INBOUND, TO_OUTBOUND = "ISTHMUS_IN_REDIRECT", "ISTHMUS_REDIRECT"
CHAINS = (INBOUND, OUTPUT, TO_INBOUND, TO_OUTBOUND)

_JUMPS = {f"-A PREROUTING -p tcp -j {INBOUND}", f"-A OUTPUT -p tcp -j {OUTPUT}"}
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Interception:
    """What is led through the proxy.

    ``inbound_ports`` None is every port, empty none; ``outbound_networks`` None is every destination, empty none.
    """

    inbound_port: int = 15006
    outbound_port: int = 15001
    proxy_uids: tuple[int, ...] = ()
    proxy_gids: tuple[int, ...] = ()
    inbound_ports: tuple[int, ...] | None = None
    exclude_inbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    outbound_networks: tuple[Network, ...] | None = None
    exclude_outbound_networks: tuple[Network, ...] = ()


def apply_script(interception: Interception, version: int, present: str) -> str:
    """Replace what is there by the rules of ``interception``, in one transaction.

    ``version`` is 4 or 6, ``present`` what ``iptables -t nat -S`` shows. Applying twice is the same as applying once.
    """
    lines = [*_without_jumps(present), *_rules(interception, version), *sorted(_JUMPS)]
    return "\n".join(["*nat", *(f":{chain} - [0:0]" for chain in CHAINS), *lines, "COMMIT", ""])


def clean_script(present: str) -> str:
    """Remove everything that ``apply_script`` made and nothing else; empty if there is nothing of it."""
    chains = [chain for chain in CHAINS if f"-N {chain}" in present.splitlines()]
    lines = [*_without_jumps(present), *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains)]
    return "\n".join(["*nat", *lines, "COMMIT", ""]) if lines else ""


def _without_jumps(present: str) -> Iterator[str]:
    for line in present.splitlines():
        if line.strip() in _JUMPS:
            yield line.strip().replace("-A ", "-D ", 1)


def _rules(interception: Interception, version: int) -> Iterator[str]:
    yield f"-A {TO_OUTBOUND} -p tcp -j REDIRECT --to-ports {interception.outbound_port}"
    yield f"-A {TO_INBOUND} -p tcp -j REDIRECT --to-ports {interception.inbound_port}"
    yield from _inbound(interception)
    yield from _outbound(interception, version)


def _inbound(interception: Interception) -> Iterator[str]:
    own = (interception.inbound_port, interception.outbound_port)
    for port in (*own, *interception.exclude_inbound_ports):
        yield f"-A {INBOUND} -p tcp --dport {port} -j RETURN"
    if interception.inbound_ports is None:
        yield f"-A {INBOUND} -p tcp -j {TO_INBOUND}"
    for port in interception.inbound_ports or ():
        yield f"-A {INBOUND} -p tcp --dport {port} -j {TO_INBOUND}"


def _outbound(interception: Interception, version: int) -> Iterator[str]:
    for uid in interception.proxy_uids:
        yield f"-A {OUTPUT} -m owner --uid-owner {uid} -j RETURN"
    for gid in interception.proxy_gids:
        yield f"-A {OUTPUT} -m owner --gid-owner {gid} -j RETURN"
    yield f"-A {OUTPUT} -d {_LOOPBACK[version]} -j RETURN"
    for port in interception.exclude_outbound_ports:
        yield f"-A {OUTPUT} -p tcp --dport {port} -j RETURN"
    for network in _of_version(interception.exclude_outbound_networks, version):
        yield f"-A {OUTPUT} -d {network} -j RETURN"
    if interception.outbound_networks is None:
        yield f"-A {OUTPUT} -p tcp -j {TO_OUTBOUND}"
    for network in _of_version(interception.outbound_networks or (), version):
        yield f"-A {OUTPUT} -p tcp -d {network} -j {TO_OUTBOUND}"


def _of_version(networks: tuple[Network, ...], version: int) -> Iterator[Network]:
    return (network for network in networks if network.version == version)
