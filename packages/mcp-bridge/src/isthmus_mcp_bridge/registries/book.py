"""All services of one registry as last read, and the reports that follow from them. Pure.

It is here that two services whose names make the same host are found out: the one that was registered first (by whatever the
registry counts, which every replica of the bridge sees alike) keeps the host, the other one is reported and left out until it
gets a host of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.events import OriginReport, Problem
from isthmus_mcp_bridge.model import EndpointClaim, Labels, ServiceClaim, ServiceKey, ServicePort
from isthmus_mcp_bridge.registries.naming import Naming


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """One usable instance: the mesh service it belongs to, the raw service name, its port and endpoint.

    ``raw_labels`` are labels that had to be mended, with what they were (see ``ServiceClaim``).
    """

    naming: Naming
    raw_name: str
    port: ServicePort
    endpoint: EndpointClaim
    raw_labels: Labels = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One origin as it was read.

    ``age`` orders origins by their first registration; ``created_ms`` is when that was, where the registry knows.
    """

    providers: tuple[Provider, ...] = ()
    problems: tuple[Problem, ...] = ()
    age: int = 0
    created_ms: int | None = None
    revision: str = ""

    @property
    def reserved(self) -> frozenset[tuple[ServiceKey, str]]:
        """The hosts made by the rule, each with the identity that made it."""
        return frozenset((one.naming.key, one.naming.identity) for one in self.providers if one.naming.identity)


Owner = tuple[int, str, str]
"""Who wants a host: age, identity, origin; the smallest one gets it."""


class Book:
    """Keeps the origins of one registry; every change yields the reports that changed with it, by origin."""

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._entries: dict[str, Entry] = {}
        self._wanted: dict[ServiceKey, set[Owner]] = {}

    @property
    def origins(self) -> frozenset[str]:
        """The origins known."""
        return frozenset(self._entries)

    def replace(self, listing: Mapping[str, Entry]) -> dict[str, OriginReport]:
        """Take a full listing. Returns the reports of all origins."""
        self._entries.clear()
        self._wanted.clear()
        for origin, entry in listing.items():
            self._enter(origin, entry)
        return {origin: self._report(origin) for origin in self._entries}

    def update(self, origin: str, entry: Entry) -> dict[str, OriginReport]:
        """Take one origin read again. Returns its report, and those of origins whose host it gave or took."""
        if self._entries.get(origin) == entry:
            return {}
        touched = self._leave(origin)
        self._enter(origin, entry)
        touched |= {key for key, _ in entry.reserved}
        return self._reports({origin} | self._owners(touched))

    def remove(self, origin: str) -> dict[str, OriginReport]:
        """An origin is gone. Returns an empty report for it, and those of origins that inherit its hosts."""
        if origin not in self._entries:
            return {}
        touched = self._leave(origin)
        return {origin: OriginReport()} | self._reports(self._owners(touched) - {origin})

    def follow(self, listing: Mapping[str, Entry]) -> dict[str, OriginReport]:
        """Take a full listing as changes. Returns only the reports that changed."""
        changed: dict[str, OriginReport] = {}
        for origin in sorted(self._entries.keys() - listing.keys()):
            changed |= self.remove(origin)
        for origin, entry in listing.items():
            changed |= self.update(origin, entry)
        return changed

    def _enter(self, origin: str, entry: Entry) -> None:
        self._entries[origin] = entry
        for key, identity in entry.reserved:
            self._wanted.setdefault(key, set()).add((entry.age, identity, origin))

    def _leave(self, origin: str) -> set[ServiceKey]:
        """Forget an origin. Returns the hosts that it wanted."""
        left = self._entries.pop(origin, None)
        keys = {key for key, _ in left.reserved} if left is not None else set()
        for key in keys:
            owners = {owner for owner in self._wanted[key] if owner[2] != origin}
            if owners:
                self._wanted[key] = owners
            else:
                del self._wanted[key]
        return keys

    def _owners(self, keys: Iterable[ServiceKey]) -> set[str]:
        return {origin for key in keys for _, _, origin in self._wanted.get(key, ())}

    def _reports(self, origins: Iterable[str]) -> dict[str, OriginReport]:
        return {origin: self._report(origin) for origin in sorted(origins)}

    def _report(self, origin: str) -> OriginReport:
        entry = self._entries[origin]
        claims: dict[ServiceKey, list[Provider]] = {}
        problems = list(entry.problems)
        losers = {
            (key, identity): owner
            for key, identity in entry.reserved
            if (owner := min(self._wanted[key])[1]) != identity
        }
        for provider in entry.providers:
            if (provider.naming.key, provider.naming.identity) not in losers:
                claims.setdefault(provider.naming.key, []).append(provider)
        for (key, identity), owner in sorted(losers.items()):
            message = (
                f"makes the same host {key.host} as {owner}, which was first; give one of them another under hosts"
            )
            problems.append(Problem(self._registry, origin, identity, f"{message}; it is left out"))
        made = tuple(_claim(key, claims[key], entry.created_ms) for key in sorted(claims))
        return OriginReport(made, tuple(problems), revision=entry.revision)


def _claim(key: ServiceKey, providers: Iterable[Provider], created_ms: int | None) -> ServiceClaim:
    providers = list(providers)
    ports = {one.port.name: one.port for one in providers}
    return ServiceClaim(
        key=key,
        ports=tuple(sorted(ports.values(), key=lambda port: (port.number, port.name))),
        endpoints=tuple(one.endpoint for one in providers),
        raw_names=tuple(sorted({one.raw_name for one in providers})),
        created_ms=created_ms,
        raw_labels=tuple(sorted({pair for one in providers for pair in one.raw_labels})),
    )
