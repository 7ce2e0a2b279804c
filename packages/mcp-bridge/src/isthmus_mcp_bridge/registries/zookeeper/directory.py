"""All interfaces of a Dubbo registry in ZooKeeper as last read, and the reports that follow from them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Protocol

from isthmus_mcp_bridge.events import OriginReport
from isthmus_mcp_bridge.registries.book import Book, Entry
from isthmus_mcp_bridge.registries.dubbo.providers import PathSource, read_overrides, read_providers
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.sieve import Sieve
from isthmus_mcp_bridge.registries.zookeeper.client import NO_CHILDREN, Children


@dataclasses.dataclass(frozen=True, slots=True)
class InterfaceNodes:
    """One interface as ZooKeeper holds it: its decoded name, its path, and what stands below."""

    interface: str
    path: str
    providers: Children = NO_CHILDREN
    configurators: Children = NO_CHILDREN
    data: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """What else was read with it, by name; the layout knows."""


class Reader(Protocol):
    """Turns the nodes of an interface into an entry; a layout."""

    def __call__(self, nodes: InterfaceNodes, rule: NamingRule, ports: Mapping[str, int], registry: str) -> Entry:
        """Read one interface; what cannot be used is a problem of the entry."""
        ...


def read_dubbo(nodes: InterfaceNodes, rule: NamingRule, ports: Mapping[str, int], registry: str) -> Entry:
    """Dubbo's interface-level layout."""
    source = PathSource(registry, nodes.path)
    overrides, problems = read_overrides(source, nodes.interface, nodes.configurators.names)
    providers, more = read_providers(source, nodes.interface, nodes.providers.names, overrides, rule, ports)
    age, created_ms = nodes.providers.czxid, nodes.providers.ctime_ms
    return Entry(tuple(providers), (*problems, *more), age, created_ms, nodes.providers.revision)


class Directory:
    """Keeps the interfaces of one registry; every change yields the reports that changed with it, by path."""

    def __init__(
        self,
        registry: str,
        rule: NamingRule,
        ports: Mapping[str, int],
        read: Reader = read_dubbo,
        sieve: Sieve | None = None,
    ) -> None:
        """``ports`` are the configured service ports by family; ``sieve`` keeps back what is our own."""
        self._sieve = sieve
        self._registry = registry
        self._rule = rule
        self._ports = ports
        self._read = read
        self._book = Book(registry)

    def replace(self, listing: Iterable[InterfaceNodes]) -> dict[str, OriginReport]:
        """Take a full listing. Returns the reports of all interfaces."""
        entries = {nodes.path: self._entry(nodes) for nodes in listing}
        if self._sieve is not None:
            self._sieve.listed(entries)
        return self._book.replace(entries)

    def update(self, nodes: InterfaceNodes) -> dict[str, OriginReport]:
        """Take one interface read again. Returns its report, and those of interfaces whose host it gave or took."""
        return self._book.update(nodes.path, self._entry(nodes))

    def remove(self, path: str) -> dict[str, OriginReport]:
        """An interface is gone. Returns an empty report for it, and those of interfaces that inherit its hosts."""
        if self._sieve is not None:
            self._sieve.remove(path)
        return self._book.remove(path)

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all interfaces known."""
        return self._book.origins

    def _entry(self, nodes: InterfaceNodes) -> Entry:
        if self._sieve is not None:
            foreign = self._sieve.sift(nodes.path, nodes.interface, nodes.providers.names)
            nodes = dataclasses.replace(nodes, providers=dataclasses.replace(nodes.providers, names=foreign))
        return self._read(nodes, self._rule, self._ports, self._registry)
