"""What a client has of one resource type: what was sent, what it acknowledged, and what it may still be using."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from isthmus_controlplane.snapshot.resource import Resource
from isthmus_controlplane.xds.message import Nack

# A response goes out while another is unanswered only where the client asks for more. Acknowledgements are
# cumulative, so beyond this number the oldest ones are counted as one.
MAX_OUTSTANDING = 8
# Names that a rejection is ascribed to when it mentions none of them.
MAX_SUSPECTS = 16

UNKNOWN_CONTENT = Resource("", "", b"")  # a reconnecting client holds something that no snapshot here has


@dataclasses.dataclass(slots=True)
class Outstanding:
    """A response that was neither acknowledged nor rejected yet.

    Attributes:
        nonce: its nonce.
        version: its version.
        sequence: number of the newest snapshot whose content the client has with it.
        names: resources that it adds, changes or removes.
    """

    nonce: str
    version: str
    sequence: int
    names: set[str]


class Delivered:
    """The state of one client for one type, moved forward when a response is recorded, before it is written.

    Attributes:
        sent: newest resource sent per name.
        outstanding: unanswered responses, oldest first.
        sent_version: version of the newest response, empty before the first.
        acked_version: version of the newest acknowledged response, empty before the first.
        nack: the newest answered response was rejected.
        nack_sequence: snapshot that the rejected response carried.
    """

    __slots__ = ("_replaced", "acked_version", "nack", "nack_sequence", "outstanding", "sent", "sent_version")

    def __init__(self) -> None:
        self.sent: dict[str, Resource] = {}
        self.outstanding: collections.deque[Outstanding] = collections.deque()
        self.sent_version = ""
        self.acked_version = ""
        self.nack: Nack | None = None
        self.nack_sequence = -1
        self._replaced: dict[str, Resource] = {}  # what the client uses until it acknowledges what came after it

    def differs(self, resource: Resource) -> bool:
        """Whether the client was last sent something else, or nothing, under the resource's name."""
        sent = self.sent.get(resource.name)
        return sent is None or sent.version != resource.version

    def record(self, response: Outstanding, resources: Iterable[Resource], removed: Iterable[str]) -> None:
        """Take a response that is about to be written."""
        for resource in resources:
            if self.differs(resource):
                response.names.add(resource.name)
                self._replace(resource.name, resource)
        for name in removed:
            response.names.add(name)
            self._replace(name, None)
        while len(self.outstanding) >= MAX_OUTSTANDING:
            response.names |= self.outstanding.popleft().names
        self.outstanding.append(response)
        self.sent_version = response.version

    def answer(self, nonce: str, error: str | None) -> bool:
        """Take an acknowledgement, or a rejection with its text; False when no unanswered response has that nonce.

        After a rejection nothing is sent again until it changes: repeating it would loop. The client still uses what
        it had before.
        """
        position = next((i for i, response in enumerate(self.outstanding) if response.nonce == nonce), None)
        if position is None:
            return False
        answered = [self.outstanding.popleft() for _ in range(position + 1)]
        newest = answered[-1]
        if error is None:
            self.acked_version, self.nack = newest.version, None
        else:
            named = _suspects(newest.names, error)
            self.nack, self.nack_sequence = Nack(newest.version, error, named), newest.sequence
            answered.pop()
        self._release(answered)
        return True

    def forget(self, covers: Callable[[str], bool]) -> None:
        """Drop what is no longer subscribed, so that it is sent again should the client come back for it."""
        for name in [name for name in (*self.sent, *self._replaced) if not covers(name)]:
            self.sent.pop(name, None)
            self._replaced.pop(name, None)

    def outdated(self, current: Mapping[str, Resource], *, deletes: bool) -> Iterator[Resource]:
        """Yield what the client may use although the snapshot has something else.

        Args:
            current: resources of the newest snapshot.
            deletes: whether the client can be told that a resource of this type is gone; where it cannot, waiting for
                that would never end.
        """
        yield from self._replaced.values()
        for name, resource in self.sent.items():
            newer = current.get(name)
            if deletes if newer is None else newer.version != resource.version:
                yield resource

    def replaced(self) -> Iterable[Resource]:
        """Return what the client uses until it acknowledges what was sent after it."""
        return self._replaced.values()

    def _replace(self, name: str, resource: Resource | None) -> None:
        old = self.sent.pop(name, None)
        if resource is not None:
            self.sent[name] = resource
        if old is not None:
            self._replaced.setdefault(name, old)

    def _release(self, accepted: Iterable[Outstanding]) -> None:
        in_flight = {name for response in self.outstanding for name in response.names}
        for response in accepted:
            for name in response.names - in_flight:
                self._replaced.pop(name, None)


def _suspects(names: Collection[str], error: str) -> tuple[str, ...]:
    """Name the resources that a rejection is about: those that it mentions, else all that it may be about if they are few."""
    mentioned = [name for name in names if _mentions(error, name)]
    return tuple(sorted(mentioned or (names if len(names) <= MAX_SUSPECTS else ())))


def _mentions(text: str, name: str) -> bool:
    """Whether a text has a name that is not part of a longer one."""
    at = text.find(name)
    while at >= 0:
        around = text[max(at - 1, 0) : at] + text[at + len(name) : at + len(name) + 1]
        if not any(each.isalnum() or each in "_|" for each in around):
            return True
        at = text.find(name, at + 1)
    return False
