"""The catalog: (state, event, now) -> changed services. Pure: no I/O, no clock, no randomness.

Events of different sources may come in any order: the merged services depend only on what each source said last.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from isthmus_mcp_bridge.catalog.alarm import Alarms
from isthmus_mcp_bridge.catalog.fold import arranged, assembled, fold, reduced_workloads
from isthmus_mcp_bridge.catalog.refold import Folded, folded, refold
from isthmus_mcp_bridge.catalog.retention import Claims
from isthmus_mcp_bridge.catalog.rules import DEFAULT_RULES, MergeRules
from isthmus_mcp_bridge.catalog.sources import Source, SourceLimits, Touched
from isthmus_mcp_bridge.catalog.vips import NoAddressLeft, VipTable
from isthmus_mcp_bridge.catalog.warm_up import next_step_ms
from isthmus_mcp_bridge.dualmode.dual_modes import DualModes, Endpoints
from isthmus_mcp_bridge.dualmode.policy import Policy
from isthmus_mcp_bridge.events import RegistryEvent, SourceListed, SourceSuspected
from isthmus_mcp_bridge.model import Conflict, MergedService, ServiceClaim, ServiceKey, SourcedClaim


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceChange:
    """A service as it is now; ``merged`` is None when nobody claims it any more."""

    key: ServiceKey
    merged: MergedService | None


class Catalog:
    """The claims of all sources and the services merged from them.

    ``apply`` takes an event and marks services as changed; ``take_changes`` folds a bounded number of them, so that a
    listing of a whole registry does not hold up its caller in one piece. Times are monotonic seconds.
    """

    def __init__(
        self,
        precedence: Sequence[str],
        limits: Mapping[str, SourceLimits] | None = None,
        rules: MergeRules = DEFAULT_RULES,
        vips: VipTable | None = None,
        epoch_offset_s: float = 0.0,
    ) -> None:
        """``precedence`` names every source, the one whose word counts most first.

        ``vips`` gives services without addresses one. ``epoch_offset_s`` is the Unix time of the monotonic time 0.
        """
        self._sources = {name: Source(name, (limits or {}).get(name)) for name in precedence}
        self._rank = {name: rank for rank, name in enumerate(precedence)}
        self.rules = rules
        self.vips = vips
        self.epoch_offset_s = epoch_offset_s
        self._origins: dict[ServiceKey, set[tuple[int, str, str]]] = {}
        self._merged: dict[ServiceKey, MergedService] = {}
        self._dirty: dict[str, dict[ServiceKey, None]] = {name: {} for name in precedence}
        self._folded: dict[ServiceKey, Folded] = {}
        """Of big services, what their next merge can be made from."""
        self._warming: Alarms[ServiceKey] = Alarms()
        self.dual_modes = DualModes()

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
        """How many services ``take_changes`` still has to fold, those of several sources counted for each."""
        return sum(map(len, self._dirty.values()))

    def pending_of(self, sources: Iterable[str]) -> int:
        """The same for changes that came from some sources."""
        return sum(len(self._dirty[name]) for name in sources)

    def apply(self, event: RegistryEvent, now: float = 0.0) -> frozenset[ServiceKey]:
        """Take one event. Returns the services whose claims changed; ``take_changes`` will fold them."""
        source = self._sources[event.source]
        if isinstance(event, SourceSuspected):
            source.suspect(event.reason, now)
            return frozenset()
        if isinstance(event, SourceListed):
            return self._touch(source, source.list_all(event.origins, now, audit=event.audit, revision=event.revision))
        return self._touch(source, {event.origin: source.change(event.origin, event.report, now)})

    def restore(self, name: str, origins: Mapping[str, Claims], age_s: float, now: float = 0.0) -> None:
        """Take the claims of a source as they were on disk ``age_s`` seconds ago, before its first event."""
        source = self._sources[name]
        self._touch(source, source.restore(origins, age_s, now))

    def tick(self, now: float) -> dict[str, frozenset[ServiceKey]]:
        """Let time pass: holds and dampings end, sources grow old, instances warm up, virtual addresses become free.

        Returns the services that this changes, by the source on whose account.
        """
        touched = {
            source.name: self._touch(source, source.tick(now))
            for source in self._sources.values()
            if self._due(source, now)
        }
        for name, keys in self._fold_again([*self._warming.take_due(now), *self.dual_modes.take_due(now)]).items():
            touched[name] = touched.get(name, frozenset()) | keys
        if self.vips is not None:
            self.vips.tick(now)
        return {name: keys for name, keys in touched.items() if keys}

    def next_tick(self) -> float | None:
        """When ``tick`` has something to do; None while only events change anything."""
        times = [source.next_tick() for source in self._sources.values()]
        times += [self._warming.next_due(), self.dual_modes.next_due()]
        times += [self.vips.next_tick() if self.vips is not None else None]
        return min((time for time in times if time is not None), default=None)

    def replace_policies(self, policies: Iterable[Policy]) -> dict[str, frozenset[ServiceKey]]:
        """Take the policies of dual mode. Returns the services that they may change, by the sources that claim them."""
        return self._fold_again(self.dual_modes.replace(policies, self._origins))

    def _fold_again(self, keys: Iterable[ServiceKey]) -> dict[str, frozenset[ServiceKey]]:
        """Mark services as changed; returns them by the sources that claim them."""
        found: dict[str, set[ServiceKey]] = {}
        for key in keys:
            for _, name, _ in self._origins.get(key, ()):
                self._dirty[name][key] = None
                found.setdefault(name, set()).add(key)
        return {name: frozenset(keys) for name, keys in found.items()}

    def take_changes(self, limit: int, now: float = 0.0, sources: Collection[str] | None = None) -> list[ServiceChange]:
        """Fold at most ``limit`` changed services (of some sources); those that stayed the same are not returned."""
        changes = []
        for key in self._take_dirty(limit, self._dirty if sources is None else sources):
            merged = self._fold(key, now)
            if merged != self._merged.get(key):
                changes.append(ServiceChange(key, merged))
                if merged is None:
                    del self._merged[key]
                else:
                    self._merged[key] = merged
        return changes

    def claims(self, key: ServiceKey) -> list[SourcedClaim]:
        """Who claims the service, in order of precedence (source, then name of the origin)."""
        return [SourcedClaim(*one) for one in self._claims(key)]

    def merge_as_said(self, key: ServiceKey, now: float = 0.0) -> MergedService | None:
        """What the service would be if every registry were believed at once: no holds, no damping, no doubt."""
        found = [
            SourcedClaim(name, origin, claim)
            for _, name, origin in sorted(self._origins.get(key, ()))
            if (claim := self._sources[name].actual(origin, key)) is not None
        ]
        if not found:
            return None
        look = functools.partial(self._look, key, now=now)
        merged = fold(key, [one.claim for one in found], self.rules, self._epoch_ms(now), look)
        return _with_sources(merged, found)

    def _claims(self, key: ServiceKey) -> Iterator[tuple[str, str, ServiceClaim]]:
        for _, name, origin in sorted(self._origins.get(key, ())):
            claim = self._sources[name].claim(origin, key)
            if claim is not None:
                yield name, origin, claim

    def _take_dirty(self, limit: int, names: Collection[str]) -> list[ServiceKey]:
        """Up to ``limit`` changed services, which count as folded for every source from now on."""
        taken: list[ServiceKey] = []
        for name in names:
            for key in self._dirty[name]:
                if len(taken) >= limit:
                    break
                taken.append(key)
            for key in taken:
                for dirty in self._dirty.values():
                    dirty.pop(key, None)
        return taken

    def _due(self, source: Source, now: float) -> bool:
        due = source.next_tick()
        return due is not None and due <= now

    def _touch(self, source: Source, touched: Touched) -> frozenset[ServiceKey]:
        for origin, keys in touched.items():
            self._index(source, origin, keys)
        changed = frozenset[ServiceKey]().union(*touched.values())
        self._dirty[source.name].update(dict.fromkeys(sorted(changed)))
        return changed

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

    def _fold(self, key: ServiceKey, now: float) -> MergedService | None:
        found = self.claims(key)
        if not found:
            self.dual_modes.forget(key)
        merged = self._merge_again(key, found) or self._merge_anew(key, found, now)
        if self.vips is not None:
            merged = self._with_vip(key, merged, now)
        return merged

    def _merge_again(self, key: ServiceKey, found: Sequence[SourcedClaim]) -> MergedService | None:
        """The merge, made from the one before; None where there is none or it does not do."""
        before = self._folded.get(key)
        if before is None or self.dual_modes.concerned(key):
            return None
        again = refold(key, [one.claim for one in found], self.rules, before)
        if again is None:
            return None
        self._folded[key] = again[1]
        return _with_sources(again[0], found)

    def _merge_anew(self, key: ServiceKey, found: Sequence[SourcedClaim], now: float) -> MergedService | None:
        self._folded.pop(key, None)
        now_ms, claims = self._epoch_ms(now), [one.claim for one in found]
        warm_ups = (one.warm_up for claim in claims for one in claim.endpoints if one.warm_up is not None)
        step_ms = next_step_ms(warm_ups, now_ms)
        self._warming.set(key, None if step_ms is None else step_ms / 1000 - self.epoch_offset_s)
        if not found:
            return None
        half = arranged(claims, self.rules, now_ms, functools.partial(self._choose, key, now=now))
        merged = assembled(key, claims, half, reduced_workloads(half))
        kept = None if self.dual_modes.concerned(key) else folded(claims, merged, half)
        if kept is not None:
            self._folded[key] = kept
        return _with_sources(merged, found)

    def _choose(self, key: ServiceKey, endpoints: Endpoints, *, now: float) -> Endpoints:
        return self.dual_modes.choose(key, endpoints, self.rules, now)

    def _look(self, key: ServiceKey, endpoints: Endpoints, *, now: float) -> Endpoints:
        return self.dual_modes.look(key, endpoints, self.rules, now)[1]

    def _with_vip(self, key: ServiceKey, merged: MergedService | None, now: float) -> MergedService | None:
        """A service without an address gets a virtual one; a service that has to give its own up is folded again."""
        assert self.vips is not None
        if merged is None or merged.addresses:
            self.vips.release(key, now)
            return merged
        try:
            address, moved = self.vips.take(key, merged.created_ms)
        except NoAddressLeft as error:
            conflict = Conflict("addresses", "", f"published without a virtual address: {error}")
            return dataclasses.replace(merged, conflicts=(*merged.conflicts, conflict))
        self._fold_again(moved)
        return dataclasses.replace(merged, addresses=(address,))

    def _epoch_ms(self, now: float) -> int:
        return int((now + self.epoch_offset_s) * 1000)


def _with_sources(merged: MergedService, found: Sequence[SourcedClaim]) -> MergedService:
    return dataclasses.replace(merged, sources=tuple(sorted({one.source for one in found})))
