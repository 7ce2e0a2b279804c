"""One resource type on one stream: decides what the client has to be told next.

Nothing is queued here. What to send is the difference between the newest snapshot and what was sent, taken at the
moment when the stream can be written, so a slow client skips the versions in between and costs no more than its names.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from isthmus_controlplane.snapshot.resource import Resource
from isthmus_controlplane.snapshot.resource_type import ResourceType
from isthmus_controlplane.snapshot.snapshot import Collection
from isthmus_controlplane.snapshot.xdstp import glob_of
from isthmus_controlplane.xds.delivered import UNKNOWN_CONTENT, Delivered, Outstanding
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.subscription import Change, Subscription
from isthmus_controlplane.xds.update import Situation, Update, Waits, delta_update, full_state_update, named_update


class Progress(enum.Enum):
    """How far a client is with a snapshot."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"


class Watch:
    """State of one resource type on one stream.

    Attributes:
        kind: rules of the type.
        subscription: what the client wants.
        delivered: what the client has.
        asked: the client waits for an answer to its subscription.
        heartbeat_at: when resources that time out have to be heard of again, in seconds of the caller's clock.
        waiting_since: since when the order of types holds a push back, in seconds of the caller's clock.
    """

    def __init__(self, kind: ResourceType, variant: Variant, *, legacy_wildcard: bool, max_bytes: int) -> None:
        self.kind = kind
        self.subscription = Subscription(legacy_wildcard=legacy_wildcard and kind.legacy_wildcard)
        self.delivered = Delivered()
        self.asked = False
        self.waiting_since: float | None = None
        self._variant = variant
        self._max_bytes = max_bytes
        self._started = False
        self._initial: Mapping[str, str] = {}
        self._resumed = False
        self._forced: set[str] = set()
        self._asked_globs: set[str] = set()
        self._held: frozenset[str] = frozenset()
        self._in_step_with: str | None = None
        self._clean_sequence = -1
        self.heartbeat_at: float | None = None

    @property
    def deletes(self) -> bool:
        """Whether the client can be told that a resource of this type is gone."""
        return self.kind.removable if self._variant is Variant.DELTA else self.kind.full_state

    @property
    def _full_state(self) -> bool:
        return self._variant is Variant.SOTW and self.kind.full_state

    def note_change(self, change: Change, initial_versions: Mapping[str, str]) -> None:
        """Take what a request did to the subscription; initial versions count on the first request only."""
        if not self._started:
            self._started = True
            self._initial = {name: v for name, v in initial_versions.items() if self.subscription.covers(name)}
            self._resumed = bool(self._initial)
            self.asked = self.kind.greets
        if change.wildcard_gained:
            self._in_step_with = None
            self._forced |= self._in_flight()
        self.asked = self.asked or change.grew
        self._forced |= change.asked
        self._asked_globs |= change.asked & self.subscription.globs
        if change.dropped:
            self.delivered.forget(self.subscription.covers)
            self._forced = {name for name in self._forced if self.subscription.covers(name)}

    @property
    def unanswered(self) -> bool:
        """Whether an answer is waited for; a client without subscriptions may drop responses without a word."""
        return bool(self.delivered.outstanding) and not self.subscription.empty

    def force(self, name: str) -> None:
        """Send a name again at the next opportunity if it is subscribed: what uses it is warming."""
        if name in self.subscription.names or name in self.delivered.sent:
            self._forced.add(name)

    def force_all(self, prefix: str) -> None:
        """Send all subscribed names that begin with ``prefix`` again, and that ``prefix*`` does not exist.

        Envoy's route configuration is ready once it has heard of any name of its own; an empty response does not reach it.
        """
        self._forced.update(name for name in self.subscription.names if name.startswith(prefix))
        self._forced.add(f"{prefix}*")

    def stale(self, collection: Collection) -> bool:
        """Whether there may be something to send: cheap, and rather true too often."""
        return bool(self.asked or self._forced or self._held) or self._in_step_with != collection.version

    def skip(self, before: Collection, now: Collection) -> None:
        """Take it that nothing which is subscribed differs between two collections."""
        if self._in_step_with == before.version:
            self._in_step_with = now.version

    def rests(self, collection: Collection, sequence: int) -> bool:
        """Whether `next_update` would say that there is nothing to send; notes the snapshot as it would."""
        if self._in_step_with != collection.version or self._initial:
            return False
        if self.asked or self._forced or self._held:
            return False
        if self.delivered.outstanding:
            self.delivered.outstanding[-1].sequence = sequence
        self.waiting_since = None
        self._clean_sequence = sequence
        return True

    def next_update(self, collection: Collection, waits: Waits, sequence: int) -> Update | None:
        """Compute what to send, or None, in which case the client is in step with snapshot ``sequence``."""
        if self._asked_globs:
            self._forced.update(name for name in collection.resources if glob_of(name) in self._asked_globs)
            self._asked_globs.clear()
        if self._initial:
            self._match_initial(collection)
        update = self._compute(collection, waits) if self.stale(collection) else Update()
        if self._is_due(update):
            return update
        if self.delivered.outstanding and not update.held:
            self.delivered.outstanding[-1].sequence = sequence
        self._note_in_step(collection, update, sequence)
        return None

    def commit(self, update: Update, collection: Collection, nonce: str, sequence: int) -> str:
        """Record an update before it is written, so that no acknowledgement overtakes it; returns its version."""
        version = update.version(collection)
        self.delivered.record(Outstanding(nonce, version, sequence, set()), update.resources, update.removed)
        self.asked = False
        self.waiting_since = None
        self._forced.difference_update((resource.name for resource in update.resources), update.removed)
        if update.complete:
            self._note_in_step(collection, update, sequence)
        return version

    def schedule_heartbeat(self, now: float) -> None:
        """Set the time of the next heartbeat: half of the shortest time to live of what the client has."""
        shortest = min((each.ttl_ms for each in self.delivered.sent.values() if each.ttl_ms), default=0)
        self.heartbeat_at = now + shortest / 2000 if shortest else None

    def beat(self, nonce: str, sequence: int) -> tuple[Resource, ...]:
        """Return the resources whose time to live begins anew, and wait for the acknowledgement."""
        version = self.delivered.sent_version
        self.delivered.record(Outstanding(nonce, version, sequence, set()), (), ())
        return tuple(each for each in self.delivered.sent.values() if each.ttl_ms)

    def outdated(self, collection: Collection) -> tuple[Resource, ...]:
        """Return what the client may still use although the snapshot has something else."""
        if self._in_step_with == collection.version and not self._held:
            return tuple(self.delivered.replaced())
        return tuple(self.delivered.outdated(collection.resources, deletes=self.deletes))

    @property
    def holds(self) -> bool:
        """Whether removals wait for acknowledgements of other types."""
        return bool(self._held)

    def progress(self, sequence: int) -> Progress:
        """Say how far the client is with snapshot ``sequence``, apart from removals that wait."""
        if self.delivered.nack is not None and self.delivered.nack_sequence >= sequence:
            return Progress.REJECTED
        pending = self.unanswered or self._clean_sequence < sequence
        return Progress.PENDING if pending else Progress.ACKNOWLEDGED

    def _compute(self, collection: Collection, waits: Waits) -> Update:
        situation = Situation(
            self.kind,
            self.subscription,
            self.delivered,
            collection,
            () if self._full_state else self._candidates(collection),
            frozenset(self._forced),
            waits,
            self._max_bytes,
        )
        if self._variant is Variant.DELTA:
            return delta_update(situation)
        return full_state_update(situation) if self.kind.full_state else named_update(situation)

    def _is_due(self, update: Update) -> bool:
        if self._full_state:
            return self.asked or bool(update.removed) or any(map(self.delivered.differs, update.resources))
        # A first wildcard request is answered even when there is nothing: the client's start waits for it.
        waits = self.kind.greets or (self.subscription.wildcard and self.deletes)
        first = self.asked and waits and not self._resumed and not self.delivered.sent_version
        return bool(update.resources or update.removed) or first

    def _note_in_step(self, collection: Collection, update: Update, sequence: int) -> None:
        self._in_step_with = collection.version
        self._held = update.held
        self._forced.clear()
        self.asked = False
        self.waiting_since = None
        self._clean_sequence = sequence

    def _candidates(self, collection: Collection) -> list[str]:
        """Name everything that may have to be sent; after a known version that is only what changed since."""
        changed = collection.changed_since(self._in_step_with) if self._in_step_with is not None else None
        if changed is not None:
            return sorted(changed | self._forced | self._held)
        everything = collection.resources if self.subscription.open else ()
        return sorted({*everything, *self.subscription.names, *self.delivered.sent, *self._forced})

    def _match_initial(self, collection: Collection) -> None:
        """Compare what a reconnecting client holds: equal versions need no sending, unknown names a removal."""
        for name, version in self._initial.items():
            current = collection.resources.get(name)
            same = current is not None and current.version == version
            self.delivered.sent[name] = current if current is not None and same else UNKNOWN_CONTENT
            if same:
                self._forced.discard(name)
        self._initial = {}

    def _in_flight(self) -> set[str]:
        """Name what the client is about to read: under a wildcard it would keep it, although it was dropped before."""
        if self._variant is Variant.SOTW:
            return set()
        return {name for response in self.delivered.outstanding for name in response.names}
