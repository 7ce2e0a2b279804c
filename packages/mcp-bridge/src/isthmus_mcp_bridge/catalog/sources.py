"""What one source claims at the moment; only a LIVE source may delete, and not too much at once (see ``guard``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus_mcp_bridge.catalog.claim_check import violations
from isthmus_mcp_bridge.catalog.guard import GuardLimits, RemovalGuard
from isthmus_mcp_bridge.events import OriginReport, Problem, SourceState
from isthmus_mcp_bridge.model import ServiceClaim, ServiceKey

MAX_PROBLEMS = 1000
"""Problems kept a source: enough to find the pattern; more are only counted."""

Claims = dict[ServiceKey, ServiceClaim]
Touched = dict[str, set[ServiceKey]]
"""Services that may have changed, by origin."""


@dataclasses.dataclass(slots=True)
class _Origin:
    claims: Claims
    problems: tuple[Problem, ...]


class Source:
    """The claims of one registry, origin by origin; pure, driven by the catalog."""

    def __init__(self, name: str, limits: GuardLimits | None = None) -> None:
        """Without ``limits`` any loss is believed at once."""
        self.name = name
        self.guard = RemovalGuard(limits)
        self.state = SourceState.SYNCING
        self.reason = "not listed yet"
        self.unreadable: frozenset[str] = frozenset()
        """Origins that exist, could not be read, and of which no good state is known."""
        self.held_deletions = 0
        """How often something stayed published only because the source was not LIVE when it went missing."""
        self._origins: dict[str, _Origin] = {}
        self._held: dict[str, OriginReport] = {}
        """What origins really hold while the guard keeps what they held before."""
        self._sockets = 0

    @property
    def sockets(self) -> int:
        """How many endpoints the source's claims have, held ones included."""
        return self._sockets

    @property
    def held(self) -> frozenset[str]:
        """The origins of which more is published than they hold now, because the guard doubts the loss."""
        return frozenset(self._held)

    def suspect(self, reason: str) -> None:
        """Stop believing absences until the next full listing."""
        self.reason = reason
        if self.state is SourceState.LIVE:
            self.state = SourceState.SUSPECT

    def list_all(self, origins: Mapping[str, OriginReport], now: float = 0.0) -> Touched:
        """Take a full listing: the source is LIVE, what is not listed is gone. Returns what ``change`` does, by origin."""
        self.state = SourceState.LIVE
        self.reason = ""
        gone = {origin: OriginReport() for origin in self._origins if origin not in origins}
        return self._take(gone | dict(origins), now)

    def change(self, origin: str, report: OriginReport, now: float = 0.0) -> set[ServiceKey]:
        """Take what one origin holds now. Returns the services that this may change."""
        return self._take({origin: report}, now)[origin]

    def release(self, now: float) -> Touched:
        """End a hold whose time is over: from now on what the origins hold is believed. Returns what that changes."""
        deadline = self.guard.deadline
        if deadline is None or now < deadline or self.state is not SourceState.LIVE:
            return {}
        held, self._held = self._held, {}
        self.guard.ended()
        return {
            origin: self._enter(origin, self._checked(origin, report), report.unreadable)
            for origin, report in held.items()
        }

    def _take(self, reports: Mapping[str, OriginReport], now: float) -> Touched:
        """Enter the reports of one event, whose losses are weighed together."""
        checked = {origin: self._checked(origin, report) for origin, report in reports.items()}
        if self.state is not SourceState.LIVE:
            return {
                origin: self._enter(origin, self._retained(origin, one), reports[origin].unreadable)
                for origin, one in checked.items()
            }
        losses = {origin: _lost(self._claims(origin), one.claims) for origin, one in checked.items()}
        holding = self.guard.losing(sum(losses.values()), self._sockets, now)
        touched: Touched = {}
        for origin, one in checked.items():
            if holding and losses[origin]:
                self._held[origin] = reports[origin]
                one = self._retained(origin, one)
            else:
                self._held.pop(origin, None)
            touched[origin] = self._enter(origin, one, reports[origin].unreadable)
        if not self._held:
            self.guard.ended()
        return touched

    def _retained(self, origin: str, entry: _Origin) -> _Origin:
        return _Origin(self._retain(self._claims(origin), entry.claims), entry.problems)

    def _enter(self, origin: str, entry: _Origin, unreadable: bool) -> set[ServiceKey]:
        old = self._claims(origin)
        self._note_unreadable(origin, unreadable and not entry.claims)
        if entry.claims or entry.problems:
            self._origins[origin] = entry
        else:
            self._origins.pop(origin, None)
        self._sockets += _count(entry.claims) - _count(old)
        return {key for key in entry.claims.keys() | old.keys() if entry.claims.get(key) != old.get(key)}

    def _claims(self, origin: str) -> Claims:
        known = self._origins.get(origin)
        return {} if known is None else known.claims

    @property
    def complete(self) -> bool:
        """Whether the source is LIVE and every origin in it was read at least once."""
        return self.state is SourceState.LIVE and not self.unreadable

    def claim(self, origin: str, key: ServiceKey) -> ServiceClaim | None:
        """What the origin claims about the service."""
        found = self._origins.get(origin)
        return None if found is None else found.claims.get(key)

    def problems_of(self, origin: str) -> tuple[Problem, ...]:
        """The unusable entries of one origin."""
        found = self._origins.get(origin)
        return () if found is None else found.problems

    def problems(self) -> list[Problem]:
        """The unusable entries of the source in a stable order, at most ``MAX_PROBLEMS``."""
        found: list[Problem] = []
        for origin in sorted(self._origins):
            found.extend(self._origins[origin].problems[: MAX_PROBLEMS - len(found)])
            if len(found) >= MAX_PROBLEMS:
                break
        return found

    def _checked(self, origin: str, report: OriginReport) -> _Origin:
        """The claims that obey Istio's rules; in the place of one that does not, the last good one stays."""
        old = self._claims(origin)
        claims: Claims = dict(old) if report.unreadable else {}
        problems = list(report.problems)
        for claim in report.claims:
            broken = violations(claim)
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
        return _Origin(claims, tuple(problems[:MAX_PROBLEMS]))

    def _note_unreadable(self, origin: str, unreadable: bool) -> None:
        self.unreadable = self.unreadable | {origin} if unreadable else self.unreadable - {origin}

    def _retain(self, old: Claims, new: Claims) -> Claims:
        """Add what is new and keep what is missing: a source that is not LIVE cannot delete."""
        retained = dict(old)
        for key, claim in new.items():
            retained[key] = _united(old[key], claim) if key in old else claim
        if any(retained[key] != new.get(key) for key in old):
            self.held_deletions += 1
        return retained


def _united(old: ServiceClaim, new: ServiceClaim) -> ServiceClaim:
    """The new claim with those endpoints of the old one that the new one does not mention."""
    mentioned = {(one.network, one.address, one.port) for one in new.endpoints}
    names = {port.name for port in new.ports}
    kept = [
        one
        for one in old.endpoints
        if (one.network, one.address, one.port) not in mentioned and one.service_port in names
    ]
    return dataclasses.replace(new, endpoints=(*new.endpoints, *kept)) if kept else new


def _count(claims: Claims) -> int:
    return sum(len(claim.endpoints) for claim in claims.values())


def _lost(old: Claims, new: Claims) -> int:
    """How many endpoints are no longer mentioned; one that is taken out of service explicitly is mentioned."""
    lost = 0
    for key, claim in old.items():
        now = new.get(key)
        if now is claim or (now is not None and now.endpoints == claim.endpoints):
            continue
        mentioned = {(one.network, one.address, one.port) for one in now.endpoints} if now is not None else set()
        lost += len({(one.network, one.address, one.port) for one in claim.endpoints} - mentioned)
    return lost
