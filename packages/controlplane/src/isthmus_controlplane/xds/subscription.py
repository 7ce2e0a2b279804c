"""What one stream wants of one resource type: names and wildcard, as the xDS protocol has them grow and shrink."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from isthmus_controlplane.snapshot.xdstp import glob_of, is_glob

WILDCARD = "*"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What a request did to a subscription.

    Attributes:
        asked: names that have to be answered, whatever was sent before.
        wildcard_gained: the client now wants everything.
        dropped: whether something is no longer subscribed.
        gone: names that were subscribed and are no longer.
    """

    asked: frozenset[str] = frozenset()
    wildcard_gained: bool = False
    dropped: bool = False
    gone: frozenset[str] = frozenset()

    @property
    def grew(self) -> bool:
        """Whether the client waits for an answer."""
        return bool(self.asked) or self.wildcard_gained


NO_CHANGE = Change()


class Subscription:
    """Names and wildcard of one type on one stream.

    "How the client specifies what resources to return" of the xDS protocol: a client that never named a resource is
    subscribed to everything (legacy wildcard, where ``legacy_wildcard`` allows it); once any name was given, an empty
    list means nothing, and everything is spelled ``*``.
    """

    __slots__ = ("_legacy_wildcard", "_named", "globs", "names", "wildcard")

    def __init__(self, *, legacy_wildcard: bool) -> None:
        self.names: set[str] = set()
        self.globs: frozenset[str] = frozenset()  # of the names, those that mean collections, which delta alone knows
        self.wildcard = False
        self._legacy_wildcard = legacy_wildcard
        self._named = False

    @property
    def empty(self) -> bool:
        """Whether nothing is subscribed."""
        return not self.names and not self.wildcard

    def covers(self, name: str) -> bool:
        """Whether resource ``name`` is subscribed, by name, by wildcard or as part of a collection."""
        return self.wildcard or name in self.names or (bool(self.globs) and glob_of(name) in self.globs)

    @property
    def open(self) -> bool:
        """Whether resources may be subscribed that were never named."""
        return self.wildcard or bool(self.globs)

    def replace(self, names: Iterable[str]) -> Change:
        """Take the complete list of a SotW request."""
        wanted = set(names)
        self._named = self._named or bool(wanted)
        wildcard = WILDCARD in wanted or (not self._named and self._legacy_wildcard)
        wanted.discard(WILDCARD)
        if wanted == self.names and wildcard == self.wildcard:  # what nearly all acknowledgements are
            return NO_CHANGE
        gone = frozenset(self.names - wanted)
        change = Change(
            asked=frozenset(wanted - self.names),
            wildcard_gained=wildcard and not self.wildcard,
            dropped=bool(gone) or (self.wildcard and not wildcard),
            gone=gone,
        )
        self.names, self.wildcard = wanted, wildcard
        return change

    def modify(self, subscribe: Collection[str], unsubscribe: Collection[str]) -> Change:
        """Take the two lists of a delta request; names to drop that were never subscribed are ignored."""
        if not subscribe and not unsubscribe and (self._named or self.wildcard or not self._legacy_wildcard):
            return NO_CHANGE  # what nearly all acknowledgements are
        added, gone = set(subscribe), set(unsubscribe)
        had_wildcard = self.wildcard
        self._named = self._named or bool(added)
        wildcard = self.wildcard or WILDCARD in added or (not self._named and self._legacy_wildcard)
        self.wildcard = wildcard and WILDCARD not in gone
        self._named = self._named or WILDCARD in gone
        explicit = self.names & gone
        self.names = (self.names | added) - gone - {WILDCARD}
        self.globs = frozenset(filter(is_glob, self.names))
        # Under a wildcard the client cannot know what became of a name it dropped: that is answered, too.
        asked = (added & self.names) | (explicit if self.wildcard else set())
        return Change(frozenset(asked), self.wildcard and not had_wildcard, bool(gone), frozenset(explicit))
