"""Flap damping: an endpoint that comes and goes in one registry is shown as it last stood for long, for a bounded time.

Every loss adds 1 to a penalty that halves every ``half_life_s``. Above ``suppress_above`` the endpoint is damped until the
penalty has fallen to ``reuse_below`` or ``longest_s`` is over. Losses are counted a source, in the order in which that source
told them, so that replicas agree whatever other sources do. Pure: the time is passed in, in monotonic seconds.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable

from isthmus_mcp_bridge.catalog.narrow import narrowed
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey

MAX_TRACKED = 100_000
"""Endpoints whose losses are remembered a source; past it, further ones are not damped, and counted."""

Socket = tuple[str, str, int]
"""Network, address and port."""
Place = tuple[str, ServiceKey]
"""An origin in the source, and a service that it claims."""


class DampingPolicy(enum.StrEnum):
    """What is shown of a damped endpoint."""

    LAST_STABLE = "last-stable"
    """What it was when it last stayed the same for ``half_life_s``."""
    DROP = "drop"
    """Nothing, as far as this registry goes."""


@dataclasses.dataclass(frozen=True, slots=True)
class DampingLimits:
    """See the module; times in seconds, penalties in losses."""

    half_life_s: float = 60.0
    suppress_above: float = 3.0
    reuse_below: float = 1.0
    longest_s: float = 300.0
    policy: DampingPolicy = DampingPolicy.LAST_STABLE


@dataclasses.dataclass(slots=True)
class _Record:
    """One endpoint that was lost at least once. ``claim`` and ``ports`` are what was said of it while it was up."""

    claim: EndpointClaim
    penalty: float = 0.0
    counted_at: float = 0.0
    changed_at: float = 0.0
    stable_up: bool = True
    ends: float | None = None
    began: float = 0.0


class Damper:
    """The flapping endpoints of one source."""

    def __init__(self, limits: DampingLimits | None, max_tracked: int = MAX_TRACKED) -> None:
        """Without ``limits`` nothing is damped."""
        self._max_tracked = max_tracked
        self._limits = limits
        self._records: dict[Place, dict[Socket, _Record]] = {}
        self._bare: dict[Place, ServiceClaim] = {}
        """Of each of those services the last claim, without endpoints."""
        self._tracked = 0
        self._next: float | None = None
        self.damped = 0
        """How often an endpoint began to be damped."""
        self.overflows = 0
        """Losses that were not remembered because there were too many."""

    def changed(self, place: Place, old: ServiceClaim | None, new: ServiceClaim | None, now: float) -> None:
        """What the origin claims about the service became something else."""
        if self._limits is None:
            return
        if old is not None and new is not None:
            old, new = narrowed(old, new)
        before, after = _up(old), _up(new)
        for socket in before.keys() - after.keys():
            self._lost(place, socket, before[socket], now)
        known = self._records.get(place)
        if known:
            self._bare[place] = dataclasses.replace(new or old or self._bare[place], endpoints=())
            for socket in after.keys() - before.keys():
                if socket in known:
                    self._returned(known[socket], after[socket], now)

    def shown(self, place: Place, claim: ServiceClaim | None) -> ServiceClaim | None:
        """The claim with its damped endpoints as they are to be shown; a claim that is gone may still show some."""
        records = self._records.get(place)
        damped = {socket: one for socket, one in records.items() if one.ends is not None} if records else {}
        if not damped:
            return claim
        if claim is None:
            claim = self._bare[place]
            if not any(map(self._shows_up, damped.values())):
                return None
        names = {port.name for port in claim.ports}
        kept = [self._shown_one(one, damped.get(_socket(one))) for one in claim.endpoints]
        there = {_socket(one) for one in claim.endpoints}
        ghosts = [
            dataclasses.replace(record.claim, presence=Presence.DOUBTED)
            for socket, record in sorted(damped.items())
            if socket not in there and self._shows_up(record) and record.claim.service_port in names
        ]
        return dataclasses.replace(claim, endpoints=(*kept, *ghosts))

    def damped_of(self, place: Place) -> dict[Socket, float]:
        """The damped endpoints of a service and when each ends at the latest."""
        records = self._records.get(place, {})
        return {socket: one.ends for socket, one in records.items() if one.ends is not None}

    def next_end(self) -> float | None:
        """When ``tick`` has something to do; None when nothing is remembered."""
        return self._next

    def tick(self, now: float) -> dict[str, set[ServiceKey]]:
        """End what is over, forget what is no longer of interest. Returns the services that this changes, by origin."""
        ended: dict[str, set[ServiceKey]] = {}
        if self._next is None or now < self._next:
            return ended
        for place, records in list(self._records.items()):
            for socket, one in list(records.items()):
                if one.ends is not None and one.ends <= now:
                    one.ends, one.penalty, one.counted_at = None, self._penalty(one, now), now
                    ended.setdefault(place[0], set()).add(place[1])
                if one.ends is None and self._forgettable_at(one) <= now:
                    del records[socket]
                    self._tracked -= 1
            if not records:
                del self._records[place], self._bare[place]
        self._next = self._earliest()
        return ended

    def _lost(self, place: Place, socket: Socket, claim: EndpointClaim, now: float) -> None:
        assert self._limits is not None
        records = self._records.get(place, {})
        record = records.get(socket)
        if record is None:
            if self._tracked >= self._max_tracked:
                self.overflows += 1
                return
            record = self._records.setdefault(place, records).setdefault(socket, _Record(claim))
            self._tracked += 1
        elif now - record.changed_at >= self._limits.half_life_s:
            record.stable_up = True
        record.claim, record.changed_at = claim, now
        record.penalty, record.counted_at = self._penalty(record, now) + 1, now
        if record.penalty > self._limits.suppress_above:
            if record.ends is None:
                record.began = now
                self.damped += 1
            record.ends = self._end(record)
        due = record.ends if record.ends is not None else self._forgettable_at(record)
        self._next = due if self._next is None else min(self._next, due)

    def _returned(self, record: _Record, claim: EndpointClaim, now: float) -> None:
        assert self._limits is not None
        if now - record.changed_at >= self._limits.half_life_s:
            record.stable_up = False
        record.claim, record.changed_at = claim, now

    def _shown_one(self, claim: EndpointClaim, record: _Record | None) -> EndpointClaim:
        """A damped endpoint that is claimed: up stays what it is, or counts as unhealthy, which others may outweigh."""
        if record is None or claim.presence not in (Presence.UP, Presence.DOUBTED) or self._shows_up(record):
            return claim
        return dataclasses.replace(claim, presence=Presence.UNHEALTHY)

    def _shows_up(self, record: _Record) -> bool:
        assert self._limits is not None
        return self._limits.policy is DampingPolicy.LAST_STABLE and record.stable_up

    def _penalty(self, record: _Record, now: float) -> float:
        assert self._limits is not None
        return record.penalty * math.exp2(-max(0.0, now - record.counted_at) / self._limits.half_life_s)

    def _end(self, record: _Record) -> float:
        assert self._limits is not None
        falls = self._limits.half_life_s * math.log2(record.penalty / self._limits.reuse_below)
        return min(record.counted_at + falls, record.began + self._limits.longest_s)

    def _forgettable_at(self, record: _Record) -> float:
        """When so little of the penalty is left that the endpoint counts as never lost."""
        assert self._limits is not None
        return record.counted_at + self._limits.half_life_s * max(0.0, math.log2(max(record.penalty, 0.01) * 4))

    def _earliest(self) -> float | None:
        return min(
            (
                one.ends if one.ends is not None else self._forgettable_at(one)
                for records in self._records.values()
                for one in records.values()
            ),
            default=None,
        )


def _socket(claim: EndpointClaim) -> Socket:
    return (claim.network, claim.address, claim.port)


def _up(claim: ServiceClaim | None) -> dict[Socket, EndpointClaim]:
    """The endpoints that are up or held; one that is taken offline on purpose has flapped only if it comes back."""
    endpoints: Iterable[EndpointClaim] = claim.endpoints if claim is not None else ()
    return {_socket(one): one for one in endpoints if one.presence in (Presence.UP, Presence.DOUBTED)}
