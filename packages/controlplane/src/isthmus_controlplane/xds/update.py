"""Pure computation of the next response of a type: the difference between a snapshot and what the client has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from isthmus_controlplane.snapshot.resource import Resource, ResourcePool, content_version
from isthmus_controlplane.snapshot.resource_type import ResourceType
from isthmus_controlplane.snapshot.snapshot import Collection
from isthmus_controlplane.snapshot.xdstp import glob_of
from isthmus_controlplane.xds.delivered import Delivered
from isthmus_controlplane.xds.subscription import Subscription

Waits = Callable[[str], bool]
_EMPTY_ANSWERS = ResourcePool()


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """What to tell a client.

    Attributes:
        resources: to add or change; in the full-state form, all of them.
        removed: names that the client has to drop, or that do not exist. In the full-state form they are not on the
            wire: absence says it.
        held: names whose removal has to wait for acknowledgements of other types.
        complete: whether the client is in step with the snapshot afterwards, apart from what is held.
    """

    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    complete: bool = True

    def version(self, collection: Collection) -> str:
        """Return the version of the response: the collection's, or its own where it holds more than the collection."""
        if not self.held:
            return collection.version
        return content_version(collection.version.encode(), *(name.encode() for name in sorted(self.held)))


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """What an update is computed from.

    Attributes:
        kind: rules of the type.
        subscription: what the client wants.
        delivered: what it has.
        collection: what there is.
        candidates: names that may have to be sent, sorted; everything else is known to be in step.
        forced: names that have to be answered whatever the client has.
        waits: whether a removal has to wait.
        max_bytes: aim for the size of a delta response; the rest follows after the acknowledgement.
    """

    kind: ResourceType
    subscription: Subscription
    delivered: Delivered
    collection: Collection
    candidates: Iterable[str]
    forced: frozenset[str]
    waits: Waits
    max_bytes: int

    def wanted(self, name: str) -> Resource | None:
        """Return the resource if it exists and is subscribed."""
        return self.collection.resources.get(name) if self.subscription.covers(name) else None

    def due(self, resource: Resource) -> bool:
        """Whether the client has to get the resource now."""
        return resource.name in self.forced or self.delivered.differs(resource)


def delta_update(situation: Situation) -> Update:
    """Compute a delta response: what changed, what is gone, and the answer to names that do not exist."""
    added: list[Resource] = []
    removed: list[str] = []
    held: set[str] = set()
    size = 0
    for name in situation.candidates:
        resource = situation.wanted(name)
        if resource is None:
            if _answers_absence(situation, name):
                added.append(Resource(name, "", b"", aliases=(name,)))
            else:
                _sort_removal(situation, name, removed, held)
        elif situation.due(resource):
            if added and size + len(resource.body) > situation.max_bytes:
                return Update(tuple(added), tuple(removed), frozenset(held), complete=False)
            added.append(resource)
            size += len(resource.body)
    return Update(tuple(added), tuple(removed), frozenset(held))


def full_state_update(situation: Situation) -> Update:
    """Compute a SotW response of listeners or clusters: all that is subscribed, and what must not go yet."""
    sent = situation.delivered.sent
    covered = {name: r for name, r in situation.collection.resources.items() if situation.subscription.covers(name)}
    held = {name: sent[name] for name in sent if name not in covered and situation.waits(name)}
    removed = tuple(name for name in sent if name not in covered and name not in held)
    return Update((*covered.values(), *held.values()), removed, frozenset(held))


def named_update(situation: Situation) -> Update:
    """Compute a SotW response of any other type: what changed, and empty answers for names that do not exist."""
    added = []
    for name in situation.candidates:
        resource = situation.wanted(name)
        if resource is None:
            empty = empty_answer(situation.kind, name) if name in situation.forced else None
            if empty is not None:
                added.append(empty)
        elif situation.due(resource):
            added.append(resource)
    return Update(tuple(added))


def _answers_absence(situation: Situation, name: str) -> bool:
    """Whether a name that does not exist is answered by a resource without content; what the client has is removed."""
    sent = situation.delivered.sent.get(name)
    return situation.kind.answers_absence and name in situation.forced and (sent is None or not sent.body)


def empty_answer(kind: ResourceType, name: str) -> Resource | None:
    """Return the answer to a name that does not exist; None where a type has none."""
    return _EMPTY_ANSWERS.serialised(kind.type_url, name, kind.empty(name)) if kind.empty is not None else None


def _has_members(situation: Situation, name: str) -> bool:
    """Whether a name is that of a collection which is not empty: its resources are the answer."""
    return name in situation.subscription.globs and any(
        glob_of(each) == name for each in situation.collection.resources
    )


def _sort_removal(situation: Situation, name: str, removed: list[str], held: set[str]) -> None:
    """Put an absent name where it belongs: told now, told later, or nothing to tell."""
    if not situation.kind.removable:
        return
    sent = situation.delivered.sent.get(name)
    if situation.kind.answers_absence and sent is not None and not sent.body:
        return  # the client knows
    if name in situation.forced and not _has_members(situation, name):
        removed.append(name)
    elif sent is not None and situation.waits(name):
        held.add(name)
        return
    elif sent is not None:
        removed.append(name)
    if sent is not None:
        own = sent.aliases[:1]  # what clients keep it under, whatever they asked for
        removed.extend(each for each in own if each not in removed and each not in situation.subscription.names)
