"""What one source claims at the moment: only a LIVE source may delete, not too much at once, and not all too often.

``freshness`` says how far the source is believed, ``guard`` doubts mass removals, ``damping`` flapping endpoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus_mcp_bridge.catalog.claim_check import Violation, violations
from isthmus_mcp_bridge.catalog.damping import Damper, DampingLimits
from isthmus_mcp_bridge.catalog.freshness import Freshness, FreshnessLimits
from isthmus_mcp_bridge.catalog.guard import GuardLimits, RemovalGuard
from isthmus_mcp_bridge.catalog.narrow import BIG, changed_endpoints, sharing
from isthmus_mcp_bridge.catalog.retention import Claims, doubted, lost_endpoints, retained
from isthmus_mcp_bridge.events import OriginReport, Problem, SourceState
from isthmus_mcp_bridge.model import Presence, ServiceClaim, ServiceKey

MAX_PROBLEMS = 1000
"""Problems kept a source: enough to find the pattern; more are only counted."""

Touched = dict[str, set[ServiceKey]]
"""Services that may have changed, by origin."""


@dataclasses.dataclass(frozen=True, slots=True)
class SourceLimits:
    """How one source is treated. ``guard`` None believes any loss at once, ``damping`` None any flapping."""

    guard: GuardLimits | None = None
    freshness: FreshnessLimits = dataclasses.field(default_factory=FreshnessLimits)
    damping: DampingLimits | None = None


@dataclasses.dataclass(slots=True)
class _Origin:
    claims: Claims
    problems: tuple[Problem, ...]
    revision: str = ""


class Source:
    """The claims of one registry, origin by origin; pure, driven by the catalog."""

    def __init__(self, name: str, limits: SourceLimits | None = None) -> None:
        limits = limits or SourceLimits()
        self.name = name
        self.guard = RemovalGuard(limits.guard)
        self.damper = Damper(limits.damping)
        self.freshness = Freshness(limits.freshness)
        self.revision = ""
        """Where the registry stood at the last full listing."""
        self.unreadable: frozenset[str] = frozenset()
        """Origins that exist, could not be read, and of which no good state is known."""
        self.held_deletions = 0
        """How often something stayed published only because the source was not LIVE when it went missing."""
        self.drifts = 0
        """Services that a full re-list found otherwise than the watch had told."""
        self.listings = 0
        """Full listings taken."""
        self.restored = False
        """Whether its claims are from disk and were not confirmed yet."""
        self.unsaved: dict[str, None] = {}
        """Origins whose claims changed since somebody wrote them down and took them out of here."""
        self._origins: dict[str, _Origin] = {}
        self._held: dict[str, OriginReport] = {}
        """What origins really hold while the guard keeps what they held before."""
        self._sockets = 0

    @property
    def state(self) -> SourceState:
        """How far the source is believed."""
        return self.freshness.state

    @property
    def reason(self) -> str:
        """Why it is not LIVE; empty when it is."""
        return self.freshness.reason

    @property
    def sockets(self) -> int:
        """How many endpoints the source's claims have, held ones included."""
        return self._sockets

    @property
    def held(self) -> frozenset[str]:
        """The origins of which more is published than they hold now, because the guard doubts the loss."""
        return frozenset(self._held)

    @property
    def complete(self) -> bool:
        """Whether the source is LIVE and every origin in it was read at least once."""
        return self.state is SourceState.LIVE and not self.unreadable

    @property
    def origins(self) -> list[str]:
        """The origins known."""
        return list(self._origins)

    def suspect(self, reason: str, now: float = 0.0) -> None:
        """Stop believing absences until the next full listing."""
        self.freshness.suspected(reason, now)

    def list_all(
        self, origins: Mapping[str, OriginReport], now: float = 0.0, *, audit: bool = False, revision: str = ""
    ) -> Touched:
        """Take a full listing: the source is LIVE, what is not listed is gone. Returns what ``change`` does, by origin."""
        audit = audit and self.state is SourceState.LIVE
        recounted = self.freshness.listed(now)
        self.revision = revision
        self.listings += 1
        self.restored = False
        gone = {origin: OriginReport() for origin in self._origins if origin not in origins}
        touched = self._take(gone | dict(origins), now)
        if audit:
            self.drifts += sum(map(len, touched.values()))
        return _united(touched, self._everything()) if recounted else touched

    def change(self, origin: str, report: OriginReport, now: float = 0.0) -> set[ServiceKey]:
        """Take what one origin holds now. Returns the services that this may change."""
        return self._take({origin: report}, now)[origin]

    def restore(self, origins: Mapping[str, Claims], age_s: float, now: float) -> Touched:
        """Take claims from disk; before anything else. They stay until the first full listing, or grow old."""
        self.restored = bool(origins)
        self.freshness.restored(age_s, now)
        return {
            origin: self._enter(origin, _Origin(dict(claims), ()), now, False) for origin, claims in origins.items()
        }

    def tick(self, now: float) -> Touched:
        """Let time pass: holds and dampings end, an unheard source grows old. Returns what that changes."""
        touched = self._release(now)
        touched = _united(touched, self.damper.tick(now))
        return _united(touched, self._everything()) if self.freshness.tick(now) else touched

    def next_tick(self) -> float | None:
        """When ``tick`` has something to do."""
        hold = self.guard.deadline if self.state is SourceState.LIVE else None
        times = (hold, self.damper.next_end(), self.freshness.next_change())
        return min((time for time in times if time is not None), default=None)

    def claim(self, origin: str, key: ServiceKey) -> ServiceClaim | None:
        """What the origin's claim about the service counts for now, dampings and the source's age considered."""
        if self.state is SourceState.EXPIRED:
            return None
        found = self._origins.get(origin)
        claim = self.damper.shown((origin, key), None if found is None else found.claims.get(key))
        return _outdated(claim) if claim is not None and self.state is SourceState.STALE else claim

    def revision_of(self, origin: str) -> str:
        """Where the registry stood when the origin was read."""
        found = self._origins.get(origin)
        return "" if found is None else found.revision or self.revision

    def actual(self, origin: str, key: ServiceKey) -> ServiceClaim | None:
        """What the origin really holds about the service, whether that is believed or not."""
        if origin in self._held:
            return self._checked(origin, self._held[origin]).claims.get(key)
        found = self._origins.get(origin)
        return None if found is None else found.claims.get(key)

    def problems_of(self, origin: str) -> tuple[Problem, ...]:
        """The unusable entries of one origin."""
        found = self._origins.get(origin)
        return () if found is None else found.problems

    def problems(self) -> list[Problem]:
        """The unusable entries of the source in a stable order, at most ``MAX_PROBLEMS``."""
        found: list[Problem] = []
        for origin in sorted(origin for origin, one in self._origins.items() if one.problems):
            found.extend(self._origins[origin].problems[: MAX_PROBLEMS - len(found)])
            if len(found) >= MAX_PROBLEMS:
                break
        return found

    def _release(self, now: float) -> Touched:
        """End a hold whose time is over: from now on what the origins hold is believed."""
        deadline = self.guard.deadline
        if deadline is None or now < deadline or self.state is not SourceState.LIVE:
            return {}
        held, self._held = self._held, {}
        self.guard.ended()
        return {
            origin: self._enter(origin, self._checked(origin, report), now, report.unreadable)
            for origin, report in held.items()
        }

    def _take(self, reports: Mapping[str, OriginReport], now: float) -> Touched:
        """Enter the reports of one event, whose losses are weighed together."""
        checked = {origin: self._checked(origin, report) for origin, report in reports.items()}
        if self.state is not SourceState.LIVE:
            return {
                origin: self._enter(origin, self._retained(origin, one), now, reports[origin].unreadable)
                for origin, one in checked.items()
            }
        losses = {origin: lost_endpoints(self._claims(origin), one.claims) for origin, one in checked.items()}
        holding = self.guard.losing(sum(losses.values()), self._sockets, now)
        touched: Touched = {}
        for origin, one in checked.items():
            if holding and losses[origin]:
                self._held[origin] = reports[origin]
                one = self._retained(origin, one)
            else:
                self._held.pop(origin, None)
            touched[origin] = self._enter(origin, one, now, reports[origin].unreadable)
        if not self._held:
            self.guard.ended()
        return touched

    def _retained(self, origin: str, entry: _Origin) -> _Origin:
        claims, deletions = retained(self._claims(origin), entry.claims)
        self.held_deletions += deletions
        return dataclasses.replace(entry, claims=claims)

    def _enter(self, origin: str, entry: _Origin, now: float, unreadable: bool) -> set[ServiceKey]:
        old = self._claims(origin)
        self._note_unreadable(origin, unreadable and not entry.claims)
        if entry.claims or entry.problems:
            self._origins[origin] = entry
        else:
            self._origins.pop(origin, None)
        changed = {key for key, claim in entry.claims.items() if old.get(key) != claim}
        changed |= old.keys() - entry.claims.keys()
        if changed:
            self.unsaved[origin] = None
        for key in changed:
            before, after = old.get(key), entry.claims.get(key)
            self._sockets += len(after.endpoints if after else ()) - len(before.endpoints if before else ())
            if before is not None:
                self.damper.changed((origin, key), before, after, now)
        return changed

    def origins_claims(self, origin: str) -> Mapping[ServiceKey, ServiceClaim]:
        """What is believed of an origin, as it is kept on disk."""
        return self._claims(origin)

    def _claims(self, origin: str) -> Claims:
        known = self._origins.get(origin)
        return {} if known is None else known.claims

    def _everything(self) -> Touched:
        return {origin: set(one.claims) for origin, one in self._origins.items()}

    def _checked(self, origin: str, report: OriginReport) -> _Origin:
        """The claims that obey Istio's rules; in the place of one that does not, the last good one stays."""
        old = self._claims(origin)
        claims: Claims = dict(old) if report.unreadable else {}
        problems = list(report.problems)
        for claim in report.claims:
            claim, broken = _compared(old.get(claim.key), claim)
            if not broken:
                claims[claim.key] = claim
                continue
            if claim.key in old:
                claims[claim.key] = old[claim.key]
            effect = "the last good state stays" if claim.key in old else "the service is left out"
            problems += [
                Problem(self.name, f"{origin}: {claim.key.name}: {one.path}", one.value, f"{one.rule}; {effect}")
                for one in broken
            ]
        return _Origin(claims, tuple(problems[:MAX_PROBLEMS]), report.revision)

    def _note_unreadable(self, origin: str, unreadable: bool) -> None:
        if unreadable != (origin in self.unreadable):
            self.unreadable = self.unreadable ^ {origin}


def _compared(old: ServiceClaim | None, claim: ServiceClaim) -> tuple[ServiceClaim, tuple[Violation, ...]]:
    """The claim, sharing with the one before what is equal, and the rules that it breaks; the one before broke none."""
    if old is None or len(claim.endpoints) < BIG:
        return claim, violations(claim)
    claim = sharing(old, claim)
    if claim.ports == old.ports and not violations(changed_endpoints(old, claim)):
        return claim, ()
    return claim, violations(claim)


def _united(one: Touched, other: Touched) -> Touched:
    return {origin: one.get(origin, set()) | other.get(origin, set()) for origin in one.keys() | other.keys()}


def _outdated(claim: ServiceClaim) -> ServiceClaim:
    """The claim of a STALE source: its yes yields to another one's no, and its no to another one's yes."""
    claim = doubted(claim)
    endpoints = tuple(
        dataclasses.replace(one, presence=Presence.UNHEALTHY) if one.presence is Presence.OFFLINE else one
        for one in claim.endpoints
    )
    return dataclasses.replace(claim, endpoints=endpoints)
