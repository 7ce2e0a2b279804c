"""The clients of one scope, and who of them subscribes to what: a change is taken only to those whom it concerns."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from isthmus_controlplane.snapshot.snapshot import Collection, Snapshot
from isthmus_controlplane.xds.subscription import Change, Subscription

ClientT = TypeVar("ClientT")


class Audience(Generic[ClientT]):
    """An index of subscriptions. Its size is that of the subscriptions, which each stream bounds (`Limits.names`)."""

    __slots__ = ("_everything", "_names", "members")

    def __init__(self) -> None:
        self.members: dict[int, ClientT] = {}
        self._names: dict[str, dict[str, set[int]]] = {}  # by type URL and resource name: ids of clients
        self._everything: dict[str, set[int]] = {}  # by type URL: ids of clients under a wildcard

    def note(self, client: int, type_url: str, change: Change, subscription: Subscription) -> None:
        """Take a change of a client's subscription to a type."""
        if subscription.open:
            self._everything.setdefault(type_url, set()).add(client)
        elif change.dropped:
            self._discard(self._everything, type_url, client)
        self._add(client, type_url, change.asked & subscription.names)
        if change.gone:
            self._remove(client, type_url, change.gone)

    def leave(self, client: int, subscriptions: Iterable[tuple[str, Subscription]]) -> None:
        """Forget a client and all that it subscribes to."""
        self.members.pop(client, None)
        for type_url, subscription in subscriptions:
            self._discard(self._everything, type_url, client)
            self._remove(client, type_url, subscription.names)

    def concerned(self, old: Snapshot | None, new: Snapshot) -> list[ClientT]:
        """Return the clients that may have to be told something when ``new`` follows ``old``, in order of arrival."""
        if old is None:
            return list(self.members.values())
        found: set[int] = set()
        for type_url in (self._names.keys() | self._everything.keys()) & {*old.collections, *new.collections}:
            changed = _changed(old.collection(type_url), new.collection(type_url))
            if changed:
                found |= self._everything.get(type_url, frozenset())
                found.update(*self._subscribers(type_url, changed))
        return [self.members[client] for client in sorted(found)]

    def _subscribers(self, type_url: str, changed: Names[str]) -> Iterator[set[int]]:
        names = self._names.get(type_url, {})
        return (names[name] for name in changed if name in names)

    def _add(self, client: int, type_url: str, names: Names[str]) -> None:
        if names:
            index = self._names.setdefault(type_url, {})
            for name in names:
                index.setdefault(name, set()).add(client)

    def _remove(self, client: int, type_url: str, names: Names[str]) -> None:
        index = self._names.get(type_url)
        if index is None:
            return
        for name in names:
            self._discard(index, name, client)
        if not index:
            del self._names[type_url]

    @staticmethod
    def _discard(index: dict[str, set[int]], key: str, client: int) -> None:
        """Take a client out of a set, and the set away with the last one."""
        clients = index.get(key)
        if clients is not None:
            clients.discard(client)
            if not clients:
                del index[key]


def _changed(old: Collection, new: Collection) -> Names[str]:
    known = new.changed_since(old.version)
    if known is not None:
        return known
    names = old.resources.keys() | new.resources.keys()
    return {name for name in names if old.resources.get(name) is not new.resources.get(name)}
