"""Whatever the interleaving, a client that is left alone ends with exactly what it subscribes to."""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE, resource_type
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.xds.audience import Audience
from isthmus_controlplane.xds.message import Request, Variant
from isthmus_controlplane.xds.testing import Conversation, cluster, endpoints, listener, name_of, names_in, route
from isthmus_controlplane.xds.watch import Progress

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
NAMES = ("a", "b", "c")
MAKE: dict[str, Callable[[str, int], Message]] = {
    CLUSTER: cluster,
    ENDPOINT: endpoints,
    LISTENER: lambda name, revision: listener(name, "r", revision),
    # Routes refer to clusters, and move between them, so that removals have something to wait for.
    ROUTE: lambda name, revision: route(name, NAMES[revision % len(NAMES)]),
}
WORLD = st.dictionaries(st.tuples(st.sampled_from(TYPES), st.sampled_from(NAMES)), st.integers(1, 3), max_size=8)
SUBSET = st.sets(st.sampled_from(NAMES)).map(sorted)


class Client(RuleBasedStateMachine):
    """A client of either variant with a random subscription, which answers responses in order, whenever it likes."""

    variant: Variant

    def __init__(self) -> None:
        super().__init__()
        self.talk = Conversation(self.variant)
        self.talk.take = self.receive
        self.audience: Audience[str] = Audience()
        self.audience.members[1] = "the client"
        self.newest: Snapshot | None = None
        self.world: dict[tuple[str, str], int] = {}
        self.inbox: collections.deque[Any] = collections.deque()
        self.view: dict[str, dict[str, bytes]] = {type_url: {} for type_url in TYPES}
        self.wildcard: dict[str, bool] = dict.fromkeys(TYPES, False)
        self.names: dict[str, set[str]] = {type_url: set() for type_url in TYPES}
        self.nonces: dict[str, str] = dict.fromkeys(TYPES, "")
        self.broken: set[tuple[str, str]] = set()
        self.publications = 0
        self.rejections = 0

    def take(self, responses: list[Any]) -> None:
        self.inbox.extend(responses)

    def subscribed(self, type_url: str, name: str) -> bool:
        return self.wildcard[type_url] or name in self.names[type_url]

    def receive(self, request: Request) -> None:
        """Take a request as a fleet would: with the newest snapshot first."""
        if self.newest is not None and self.talk.session.snapshot is not self.newest:
            self.talk.session.publish(self.newest, self.publications)
        received = self.talk.session.receive(request)
        subscription = self.talk.session.watches[received.type_url].subscription
        self.audience.note(1, received.type_url, received.change, subscription)

    @rule(world=WORLD, lazy=st.booleans())
    def publish(self, world: dict[tuple[str, str], int], lazy: bool) -> None:
        self.world = world
        self.publications += 1
        old, new = self.newest, self.talk.build(*(MAKE[url](name, revision) for (url, name), revision in world.items()))
        self.newest = new
        concerned = bool(self.audience.concerned(old, new))
        responses = [] if lazy and not concerned else self.talk.publish_snapshot(new, self.publications)
        if not concerned:
            assert responses == [], "it sleeps on, but there is something to say"
        self.take(responses)

    @rule(key=st.tuples(st.sampled_from(TYPES), st.sampled_from(NAMES)), revision=st.integers(0, 3), lazy=st.booleans())
    def publish_one(self, key: tuple[str, str], revision: int, lazy: bool) -> None:
        """Change, add or (revision 0) remove one resource: what most clients are not touched by."""
        rest = {each: value for each, value in self.world.items() if each != key}
        self.publish(rest | ({key: revision} if revision else {}), lazy)

    @precondition(lambda self: self.inbox)
    @rule(accept=st.booleans())
    def answer(self, accept: bool) -> None:
        self.settle_one(accept=accept)

    def settle_one(self, *, accept: bool) -> None:
        response = self.inbox.popleft()
        type_url = response.type_url
        self.nonces[type_url] = response.nonce
        names = self.wire_names(type_url)
        if not accept:
            self.rejections += 1
            self.broken |= {(type_url, name) for name in self.touched(response)}
            self.take(self.talk.nack(response, "no", names))
            return
        self.apply(response)
        self.take(self.talk.ack(response, names))

    @abc.abstractmethod
    def touched(self, response: Any) -> set[str]:
        """Name the resources that a response is about."""

    @abc.abstractmethod
    def apply(self, response: Any) -> None:
        """Take a response into the view."""

    def wire_names(self, type_url: str) -> list[str]:
        return [*sorted(self.names[type_url]), *(["*"] if self.wildcard[type_url] else [])]

    @invariant()
    def nothing_is_stuck(self) -> None:
        """At most one response per type is in flight unless the client asked for more."""
        assert len(self.inbox) < 100

    def teardown(self) -> None:
        """Answer everything, then compare."""
        rounds = 0
        while self.inbox or self.next_round():
            rounds += 1
            assert rounds < 300, "the session never comes to rest"
            if self.inbox:
                self.settle_one(accept=True)
        if self.publications:
            for type_url in TYPES:
                self.compare(type_url)
            assert self.talk.session.progress(self.talk.session.sequence) in {Progress.ACKNOWLEDGED, Progress.REJECTED}

    def next_round(self) -> bool:
        """Let time pass for pushes that wait for their turn."""
        deadline = self.talk.session.next_deadline()
        if deadline is not None:
            self.talk.now = max(self.talk.now, deadline)
        self.take(self.talk.flush())
        return bool(self.inbox)

    def compare(self, type_url: str) -> None:
        assert self.newest is not None
        current = self.newest.collection(type_url).resources
        wanted = {name: r.body for name, r in current.items() if self.subscribed(type_url, name)}
        view = {name: body for name, body in self.view[type_url].items() if self.subscribed(type_url, name)}
        # What a rejected resource may still use is not removed, and a rejection only ends with a newer version.
        held = view.keys() - wanted if self.rejections else set()
        for name in {*wanted, *view} - held:
            if (type_url, name) not in self.broken:
                assert view.get(name) == wanted.get(name), (type_url, name)


class SotwClient(Client):
    """Keeps full-state types as sent; of other types it never hears of a deletion."""

    variant = Variant.SOTW

    @rule(type_url=st.sampled_from(TYPES), names=SUBSET, wildcard=st.booleans())
    def subscribe(self, type_url: str, names: list[str], wildcard: bool) -> None:
        if not names and not wildcard and not self.names[type_url] and not self.wildcard[type_url]:
            return  # would be the legacy wildcard
        self.names[type_url], self.wildcard[type_url] = set(names), wildcard
        self.view[type_url] = {n: b for n, b in self.view[type_url].items() if self.subscribed(type_url, n)}
        self.take(self.talk.sotw(type_url, self.wire_names(type_url), nonce=self.nonces[type_url]))

    def touched(self, response: Any) -> set[str]:
        full = resource_type(response.type_url).full_state
        return set(NAMES) if full else set(names_in(response))

    def apply(self, response: Any) -> None:
        type_url = response.type_url
        received = {name_of(body): body.SerializeToString() for body in response.resources}
        assert len(received) == len(response.resources)
        if resource_type(type_url).full_state:
            self.view[type_url] = received
            self.broken = {item for item in self.broken if item[0] != type_url}
        else:
            self.view[type_url] |= received
            self.broken -= {(type_url, name) for name in received}

    def compare(self, type_url: str) -> None:
        if not resource_type(type_url).full_state:
            # What is gone stays with the client, or was answered by an empty resource.
            for name in NAMES:
                if (type_url, name) not in self.world:
                    self.broken.add((type_url, name))
        super().compare(type_url)


class DeltaClient(Client):
    """Follows added, changed and removed resources."""

    variant = Variant.DELTA

    @rule(type_url=st.sampled_from(TYPES), names=SUBSET, wildcard=st.booleans())
    def subscribe(self, type_url: str, names: list[str], wildcard: bool) -> None:
        before = set(self.wire_names(type_url))
        self.names[type_url], self.wildcard[type_url] = set(names), wildcard
        after = set(self.wire_names(type_url))
        self.view[type_url] = {n: b for n, b in self.view[type_url].items() if self.subscribed(type_url, n)}
        gone = before - after or {"nothing-of-mine"}
        added = after - before
        if type_url not in self.talk.session.watches and not added:
            added, gone = {"*"}, {"*"}  # subscribed to nothing, said explicitly
        self.take(self.talk.delta(type_url, sorted(added), sorted(gone)))

    def touched(self, response: Any) -> set[str]:
        return {*names_in(response), *response.removed_resources}

    def apply(self, response: Any) -> None:
        view = self.view[response.type_url]
        received = {resource.name: resource.resource.SerializeToString() for resource in response.resources}
        assert not received.keys() & set(response.removed_resources)
        view |= received
        for name in response.removed_resources:
            view.pop(name, None)
        self.broken -= {(response.type_url, name) for name in self.touched(response)}


TestSotwClient = SotwClient.TestCase
TestDeltaClient = DeltaClient.TestCase
SETTINGS = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSotwClient.settings = TestDeltaClient.settings = SETTINGS
