"""What the proxies' own numbers say of the addresses of a service, by the kind of address. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_controlplane.ctl.migrate.plan import Direction

MAX_WORST = 10
"""Endpoints that are named in a report of a breach."""


@dataclasses.dataclass(frozen=True, slots=True)
class Requests:
    """Requests that ended, well or not."""

    succeeded: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.succeeded + self.failed

    @property
    def rate(self) -> float:
        """The part that failed, from 0 to 1."""
        return self.failed / self.total if self.total else 0.0

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.succeeded + other.succeeded, self.failed + other.failed)


NONE = Requests()


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Requests by endpoint address since a step was applied everywhere.

    Attributes:
        judged: to addresses of the kind that is moved to; to all where addresses are not told apart.
        beside: to addresses of the other kind.
        endpoints: the judged ones by address.
        told_apart: whether it is known which address is of which kind.
        nodes: how many proxies reported.
    """

    judged: Requests = NONE
    beside: Requests = NONE
    endpoints: tuple[tuple[str, Requests], ...] = ()
    told_apart: bool = False
    nodes: int = 0

    @property
    def worst(self) -> list[tuple[str, Requests]]:
        """Endpoints with failures, those with most of them first."""
        failing = [each for each in self.endpoints if each[1].failed]
        return sorted(failing, key=lambda each: (-each[1].failed, each[0]))[:MAX_WORST]


@dataclasses.dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a service's instances, by kind, as ``host:port``."""

    mesh: frozenset[str]
    native: frozenset[str]

    def of(self, to: Direction) -> tuple[frozenset[str], frozenset[str]]:
        """Those that are moved to, and the others."""
        return (self.mesh, self.native) if to == "mesh" else (self.native, self.mesh)


def figures(rows: Iterable[Mapping[str, Any]], addresses: Addresses | None, to: Direction) -> Figures:
    """Add up rows of the control plane's load page; without ``addresses`` all endpoints are judged as one."""
    by_address: dict[str, Requests] = {}
    nodes: set[str] = set()
    for row in rows:
        address = str(row["address"])
        requests = Requests(int(row["succeeded"]), int(row["failed"]))
        by_address[address] = by_address.get(address, NONE) + requests
        nodes.add(str(row["node"]))
    if addresses is None:
        return Figures(sum(by_address.values(), NONE), NONE, tuple(sorted(by_address.items())), False, len(nodes))
    wanted, others = addresses.of(to)
    judged = {address: each for address, each in by_address.items() if address in wanted}
    beside = [each for address, each in by_address.items() if address in others and address not in wanted]
    return Figures(sum(judged.values(), NONE), sum(beside, NONE), tuple(sorted(judged.items())), True, len(nodes))
