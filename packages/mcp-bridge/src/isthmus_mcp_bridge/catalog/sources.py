"""What one source claims at the moment, and the rule that only a LIVE source may delete."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus_mcp_bridge.catalog.claim_check import violations
from isthmus_mcp_bridge.events import OriginReport, Problem, SourceState
from isthmus_mcp_bridge.model import ServiceClaim, ServiceKey

MAX_PROBLEMS = 1000
"""Problems kept a source: enough to find the pattern; more are only counted."""

Claims = dict[ServiceKey, ServiceClaim]


@dataclasses.dataclass(slots=True)
class _Origin:
    claims: Claims
    problems: tuple[Problem, ...]


class Source:
    """The claims of one registry, origin by origin; pure, driven by the catalog."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = SourceState.SYNCING
        self.reason = "not listed yet"
        self.unreadable: frozenset[str] = frozenset()
        """Origins that exist, could not be read, and of which no good state is known."""
        self.held_deletions = 0
        """How often something stayed published only because the source was not LIVE when it went missing."""
        self._origins: dict[str, _Origin] = {}

    def suspect(self, reason: str) -> None:
        """Stop believing absences until the next full listing."""
        self.reason = reason
        if self.state is SourceState.LIVE:
            self.state = SourceState.SUSPECT

    def list_all(self, origins: Mapping[str, OriginReport]) -> dict[str, set[ServiceKey]]:
        """Take a full listing: the source is LIVE, what is not listed is gone. Returns what ``change`` does, by origin."""
        self.state = SourceState.LIVE
        self.reason = ""
        gone = {origin: OriginReport() for origin in self._origins if origin not in origins}
        return {origin: self.change(origin, report) for origin, report in (gone | dict(origins)).items()}

    def change(self, origin: str, report: OriginReport) -> set[ServiceKey]:
        """Take what one origin holds now. Returns the services that this may change."""
        old = self._origins.get(origin, _Origin({}, ()))
        claims, problems = self._checked(old.claims, report, origin)
        if self.state is not SourceState.LIVE:
            claims = self._retain(old.claims, claims)
        self._note_unreadable(origin, report.unreadable and not claims)
        if claims or problems:
            self._origins[origin] = _Origin(claims, problems)
        else:
            self._origins.pop(origin, None)
        return {key for key in claims.keys() | old.claims.keys() if claims.get(key) != old.claims.get(key)}

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

    def _checked(self, old: Claims, report: OriginReport, origin: str) -> tuple[Claims, tuple[Problem, ...]]:
        """The claims that obey Istio's rules; in the place of one that does not, the last good one stays."""
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
        return claims, tuple(problems[:MAX_PROBLEMS])

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
