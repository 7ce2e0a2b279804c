"""How far a source can be believed as time passes: SYNCING, LIVE, SUSPECT, STALE, EXPIRED. Pure: the time is passed in.

::

    SYNCING --listed--> LIVE --suspected--> SUSPECT --stale_after_s--> STALE --expire_after_s--> EXPIRED
                         ^                     |                         |                         |
                         +-------- listed -----+-------------------------+-------------------------+

A source that was restored from disk is SYNCING with claims, and grows old in the same way.
"""

from __future__ import annotations

import dataclasses

from isthmus_mcp_bridge.events import SourceState


@dataclasses.dataclass(frozen=True, slots=True)
class FreshnessLimits:
    """Seconds without word from the registry after which a source is STALE, and EXPIRED (0: never)."""

    stale_after_s: float = 300.0
    expire_after_s: float = 86_400.0


class Freshness:
    """The state of one source, why, and since when."""

    __slots__ = ("_limits", "_unheard_since", "reason", "since", "state")

    def __init__(self, limits: FreshnessLimits) -> None:
        self._limits = limits
        self._unheard_since: float | None = None
        self.state = SourceState.SYNCING
        self.reason = "not listed yet"
        self.since = 0.0
        """When the state was entered (monotonic seconds)."""

    def listed(self, now: float) -> bool:
        """The source was read completely. Returns whether its claims count otherwise than before."""
        counted_otherwise = self.state in (SourceState.STALE, SourceState.EXPIRED)
        self._unheard_since = None
        self.reason = ""
        self._enter(SourceState.LIVE, now)
        return counted_otherwise

    def suspected(self, reason: str, now: float) -> None:
        """The registry is away or makes no sense; a source that is not LIVE only gets another reason."""
        self.reason = reason
        if self.state is SourceState.LIVE:
            self._enter(SourceState.SUSPECT, now)
            self._unheard_since = now

    def restored(self, age_s: float, now: float) -> None:
        """Claims were read from disk that were true ``age_s`` seconds ago; the time since then counts."""
        self.reason = "restored from disk, not listed yet"
        self._unheard_since = now - age_s

    def tick(self, now: float) -> bool:
        """Grow old. Returns whether the claims of the source count otherwise than before."""
        before = self.state
        due = self.next_change()
        while due is not None and due <= now:
            self._enter(SourceState.EXPIRED if self.state is SourceState.STALE else SourceState.STALE, due)
            due = self.next_change()
        return self.state is not before

    def next_change(self) -> float | None:
        """When ``tick`` has something to do; None when the state stays as it is without an event."""
        if self._unheard_since is None or self.state is SourceState.EXPIRED:
            return None
        if self.state is not SourceState.STALE:
            return self._unheard_since + self._limits.stale_after_s
        after = self._limits.expire_after_s
        return self._unheard_since + max(after, self._limits.stale_after_s) if after else None

    def _enter(self, state: SourceState, now: float) -> None:
        if state is not self.state:
            self.state, self.since = state, now
