"""The catalog: (state, event, now) -> changed services. Pure: no I/O, no clock, no randomness.

Events of different sources may come in any order: the merged services depend only on what each source said last.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from isthmus_mcp_bridge.catalog.fold import fold
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.sources import Source, Touched
from isthmus_mcp_bridge.events import RegistryEvent, SourceListed, SourceState, SourceSuspected
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

    def __init__(self, precedence: Sequence[str], guards: Mapping[str, GuardLimits] | None = None) -> None:
        """``precedence`` names every source, the one whose word counts most first; ``guards`` doubt mass removals."""
        self._sources = {name: Source(name, (guards or {}).get(name)) for name in precedence}
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

    def apply(self, event: RegistryEvent, now: float = 0.0) -> frozenset[ServiceKey]:
        """Take one event at the time ``now`` (seconds, monotonic). Returns the services whose claims changed;
        ``take_changes`` will fold them.
        """
        source = self._sources[event.source]
        if isinstance(event, SourceSuspected):
            source.suspect(event.reason)
            return frozenset()
        if isinstance(event, SourceListed):
            return self._touch(source, source.list_all(event.origins, now))
        return self._touch(source, {event.origin: source.change(event.origin, event.report, now)})

    def release(self, now: float) -> frozenset[ServiceKey]:
        """End the holds whose time is over. Returns the services that this changes."""
        return frozenset[ServiceKey]().union(
            *(self._touch(source, source.release(now)) for source in self._sources.values())
        )

    def next_release(self) -> float | None:
        """When ``release`` has something to do; None while nothing is held by a LIVE source."""
        return min(
            (
                source.guard.deadline
                for source in self._sources.values()
                if source.guard.deadline is not None and source.state is SourceState.LIVE
            ),
            default=None,
        )

    def _touch(self, source: Source, touched: Touched) -> frozenset[ServiceKey]:
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
