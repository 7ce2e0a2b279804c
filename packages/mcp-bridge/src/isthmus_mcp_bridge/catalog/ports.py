"""Decides which ports a merged service has, and which of them each claim's endpoints serve.

Ports that a registry states come first, in the order of the sources' precedence. A port that an adapter only made up
(ZooKeeper knows no service ports) adopts a stated one: the same name, else the same number, else the same prefix of the
name (``dubbo`` of ``dubbo-tcp``), else, unless it is bare TCP, the only stated port of its protocol. A port that cannot
stand beside those before it is left out and reported; the higher precedence keeps its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isthmus_mcp_bridge.model import Conflict, ServiceClaim, ServicePort


@dataclasses.dataclass(slots=True)
class PortTable:
    """The ports of a merged service in order of precedence, and the final name of each claim's port.

    ``names`` maps (index of the claim, port name in that claim) to the port's name in the merged service; a port that
    was left out has no entry.
    """

    ports: list[ServicePort] = dataclasses.field(default_factory=list)
    names: dict[tuple[int, str], str] = dataclasses.field(default_factory=dict)
    conflicts: list[Conflict] = dataclasses.field(default_factory=list)

    def named(self, name: str) -> ServicePort | None:
        """The port of that name."""
        return next((port for port in self.ports if port.name == name), None)

    def numbered(self, number: int) -> ServicePort | None:
        """The port of that number."""
        return next((port for port in self.ports if port.number == number), None)


def resolve_ports(claims: Sequence[ServiceClaim]) -> PortTable:
    """The port table of the claims, which stand in order of precedence."""
    table = PortTable()
    for stated in (True, False):
        for index, claim in enumerate(claims):
            for port in claim.ports:
                if port.stated == stated:
                    _place(table, index, port)
    return table


def _place(table: PortTable, index: int, port: ServicePort) -> None:
    found = (None if port.stated else _adopted(table, port)) or _same(table, port)
    if found is None:
        found = _add(table, port)
    if found is not None:
        table.names[index, port.name] = found.name


def _adopted(table: PortTable, port: ServicePort) -> ServicePort | None:
    candidates = [known for known in table.ports if known.stated and known.protocol == port.protocol]
    prefix = port.name.split("-")[0]
    for known in candidates:
        if known.name == port.name or known.number == port.number:
            return known
    for known in candidates:
        if known.name.split("-")[0] == prefix:
            return known
    return candidates[0] if len(candidates) == 1 and port.protocol != "TCP" else None


def _same(table: PortTable, port: ServicePort) -> ServicePort | None:
    """A port already in the table that this one is another spelling of."""
    named = table.named(port.name)
    if named is not None and named.protocol == port.protocol:
        if named.number != port.number:
            message = f"another registry states {named.number} for this port and takes precedence"
            table.conflicts.append(Conflict(f"ports[{port.name}].number", str(port.number), message))
        return named
    numbered = table.numbered(port.number)
    return numbered if numbered is not None and numbered.protocol == port.protocol else None


def _add(table: PortTable, port: ServicePort) -> ServicePort | None:
    taken = table.numbered(port.number)
    if taken is not None:
        message = f"number {port.number} is {taken.name} ({taken.protocol}) in another registry; give this one its own"
        table.conflicts.append(Conflict(f"ports[{port.name}]", port.protocol, f"left out: {message}"))
        return None
    if table.named(port.name) is not None:
        renamed = f"{port.name[:40]}-{port.protocol.lower()}-{port.number}"
        message = f"published as {renamed}: the name means another protocol in another registry"
        table.conflicts.append(Conflict(f"ports[{port.name}].name", port.protocol, message))
        port = dataclasses.replace(port, name=renamed)
        if table.named(renamed) is not None:
            return None
    table.ports.append(port)
    return port
