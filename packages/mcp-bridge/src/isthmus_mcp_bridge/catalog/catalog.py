"""The catalog: (state, event) -> changed services. Pure: no I/O, no clock, no randomness.

Events of different sources may come in any order: the merged services depend only on what each source said last.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from isthmus_mcp_bridge.catalog.fold import fold
from isthmus_mcp_bridge.catalog.sources import Source
from isthmus_mcp_bridge.events import RegistryEvent, SourceListed, SourceSuspected
from isthmus_mcp_bridge.model import MergedService, ServiceClaim, ServiceKey


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceChange:
    """A service as it is now; ``merged`` is None when nobody claims it any more."""

    key: ServiceKey
    merged: MergedService | None


@dataclasses.dataclass(frozen=True, slots=True)
class SourcedClaim:
    """A claim with who makes it: the registry's name and the origin in it."""

    source: str
    origin: str
    claim: ServiceClaim


class Catalog:
    """The claims of all sources and the services merged from them.

    ``apply`` takes an event and marks services as changed; ``take_changes`` folds a bounded number of them, so that a
    listing of a whole registry does not hold up its caller in one piece.
    """

    def __init__(self, precedence: Sequence[str]) -> None:
        """``precedence`` names every source, the one whose word counts most first."""
        self._sources = {name: Source(name) for name in precedence}
        self._rank = {name: rank for rank, name in enumerate(precedence)}
        self._origins: dict[ServiceKey, set[tuple[int, str, str]]] = {}
        self._merged: dict[ServiceKey, MergedService] = {}
        self._dirty: dict[ServiceKey, None] = {}

    @property
    def sources(self) -> Mapping[str, Source]:
        """The sources by name, in order of precedence; to look at, not to change."""
        return self._sources

    @property
    def services(self) -> Mapping[ServiceKey, MergedService]:
        """The merged services as of the last ``take_changes``."""
        return self._merged

    @property
    def pending(self) -> int:
        """How many services ``take_changes`` still has to fold."""
        return len(self._dirty)

    def apply(self, event: RegistryEvent) -> frozenset[ServiceKey]:
        """Take one event. Returns the services whose claims changed; ``take_changes`` will fold them."""
        source = self._sources[event.source]
        if isinstance(event, SourceSuspected):
            source.suspect(event.reason)
            return frozenset()
        if isinstance(event, SourceListed):
            touched = source.list_all(event.origins)
        else:
            touched = {event.origin: source.change(event.origin, event.report)}
        for origin, keys in touched.items():
            self._index(source, origin, keys)
        changed = frozenset[ServiceKey]().union(*touched.values())
        self._dirty.update(dict.fromkeys(sorted(changed)))
        return changed

    def take_changes(self, limit: int) -> list[ServiceChange]:
        """Fold at most ``limit`` changed services; those whose merged form stayed the same are not returned."""
        changes = []
        for key in list(itertools.islice(self._dirty, limit)):
            del self._dirty[key]
            merged = self._fold(key)
            if merged != self._merged.get(key):
                changes.append(ServiceChange(key, merged))
                if merged is None:
                    del self._merged[key]
                else:
                    self._merged[key] = merged
        return changes

    def claims(self, key: ServiceKey) -> list[SourcedClaim]:
        """Who claims the service, in order of precedence (source, then name of the origin)."""
        found = []
        for _, name, origin in sorted(self._origins.get(key, ())):
            claim = self._sources[name].claim(origin, key)
            if claim is not None:
                found.append(SourcedClaim(name, origin, claim))
        return found

    def _index(self, source: Source, origin: str, touched: set[ServiceKey]) -> None:
        """Keep the way from a service to the origins that claim it."""
        entry = (self._rank[source.name], source.name, origin)
        for key in touched:
            known = self._origins.setdefault(key, set())
            if source.claim(origin, key) is not None:
                known.add(entry)
            else:
                known.discard(entry)
            if not known:
                del self._origins[key]

    def _fold(self, key: ServiceKey) -> MergedService | None:
        claims = [one.claim for one in self.claims(key)]
        return fold(key, claims) if claims else None
