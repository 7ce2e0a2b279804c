"""All interfaces of a Dubbo registry as last read, and the reports that follow from them. Pure.

It is here that two services whose names make the same host are found out: the one that was registered first (by the
transaction that created its ``providers`` node, which every replica of the bridge sees alike) keeps the host, the other
one is reported and left out until it gets a host of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.events import OriginReport, Problem
from isthmus_mcp_bridge.model import ServiceClaim, ServiceKey
from isthmus_mcp_bridge.registries.zookeeper.client import NO_CHILDREN, Children
from isthmus_mcp_bridge.registries.zookeeper.naming import NamingRule
from isthmus_mcp_bridge.registries.zookeeper.providers import (
    PathSource,
    Provider,
    read_overrides,
    read_providers,
)


@dataclasses.dataclass(frozen=True, slots=True)
class InterfaceNodes:
    """One interface as ZooKeeper holds it: its decoded name, its path, and what stands below."""

    interface: str
    path: str
    providers: Children = NO_CHILDREN
    configurators: Children = NO_CHILDREN


@dataclasses.dataclass(frozen=True, slots=True)
class _Interface:
    nodes: InterfaceNodes
    providers: tuple[Provider, ...]
    problems: tuple[Problem, ...]
    reserved: frozenset[tuple[ServiceKey, str]]
    """The hosts made by the rule, each with the identity that made it."""


Owner = tuple[int, str, str]
"""Who wants a host: age (czxid), identity, path; the smallest one gets it."""


class Directory:
    """Keeps the interfaces of one registry; every change yields the reports that changed with it, by path."""

    def __init__(self, registry: str, rule: NamingRule, ports: Mapping[str, int]) -> None:
        """``ports`` are the configured service ports by family."""
        self._registry = registry
        self._rule = rule
        self._ports = ports
        self._interfaces: dict[str, _Interface] = {}
        self._wanted: dict[ServiceKey, set[Owner]] = {}

    def replace(self, listing: Iterable[InterfaceNodes]) -> dict[str, OriginReport]:
        """Take a full listing. Returns the reports of all interfaces."""
        self._interfaces.clear()
        self._wanted.clear()
        for nodes in listing:
            self._enter(nodes)
        return {path: self._report(one) for path, one in self._interfaces.items()}

    def update(self, nodes: InterfaceNodes) -> dict[str, OriginReport]:
        """Take one interface read again. Returns its report, and those of interfaces whose host it gave or took."""
        touched = self._leave(nodes.path)
        self._enter(nodes)
        touched |= {key for key, _ in self._interfaces[nodes.path].reserved}
        return self._reports({nodes.path} | self._paths(touched))

    def remove(self, path: str) -> dict[str, OriginReport]:
        """An interface is gone. Returns an empty report for it, and those of interfaces that inherit its hosts."""
        touched = self._leave(path)
        return {path: OriginReport()} | self._reports(self._paths(touched) - {path})

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all interfaces known."""
        return frozenset(self._interfaces)

    def _enter(self, nodes: InterfaceNodes) -> None:
        source = PathSource(self._registry, nodes.path)
        overrides, problems = read_overrides(source, nodes.interface, nodes.configurators.names)
        providers, more = read_providers(
            source, nodes.interface, nodes.providers.names, overrides, self._rule, self._ports
        )
        reserved = frozenset((one.naming.key, one.naming.identity) for one in providers if one.naming.identity)
        self._interfaces[nodes.path] = _Interface(nodes, tuple(providers), (*problems, *more), reserved)
        for key, identity in reserved:
            self._wanted.setdefault(key, set()).add((nodes.providers.czxid, identity, nodes.path))

    def _leave(self, path: str) -> set[ServiceKey]:
        """Forget an interface. Returns the hosts that it wanted."""
        left = self._interfaces.pop(path, None)
        keys = {key for key, _ in left.reserved} if left is not None else set()
        for key in keys:
            owners = {owner for owner in self._wanted[key] if owner[2] != path}
            if owners:
                self._wanted[key] = owners
            else:
                del self._wanted[key]
        return keys

    def _paths(self, keys: Iterable[ServiceKey]) -> set[str]:
        return {path for key in keys for _, _, path in self._wanted.get(key, ())}

    def _reports(self, paths: Iterable[str]) -> dict[str, OriginReport]:
        return {path: self._report(self._interfaces[path]) for path in sorted(paths)}

    def _report(self, interface: _Interface) -> OriginReport:
        claims: dict[ServiceKey, list[Provider]] = {}
        problems = list(interface.problems)
        losers = {
            (key, identity): owner
            for key, identity in interface.reserved
            if (owner := min(self._wanted[key])[1]) != identity
        }
        for provider in interface.providers:
            if (provider.naming.key, provider.naming.identity) not in losers:
                claims.setdefault(provider.naming.key, []).append(provider)
        for (key, identity), owner in sorted(losers.items()):
            message = (
                f"makes the same host {key.host} as {owner}, which was first; give one of them another under hosts"
            )
            problems.append(Problem(self._registry, interface.nodes.path, identity, f"{message}; it is left out"))
        made = tuple(_claim(key, claims[key], interface.nodes.providers.ctime_ms) for key in sorted(claims))
        return OriginReport(made, tuple(problems))


def _claim(key: ServiceKey, providers: Iterable[Provider], created_ms: int) -> ServiceClaim:
    providers = list(providers)
    ports = {one.port.name: one.port for one in providers}
    return ServiceClaim(
        key=key,
        ports=tuple(sorted(ports.values(), key=lambda port: (port.number, port.name))),
        endpoints=tuple(one.endpoint for one in providers),
        raw_names=tuple(sorted({one.raw_name for one in providers})),
        created_ms=created_ms,
    )
