"""Which streams a publication wakes."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.scope import scope_of
from isthmus_controlplane.snapshot.resource_type import ENDPOINT
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.fleet import MAX_HELD, Client, Fleet
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.push import PushLog, PushStatus
from isthmus_controlplane.xds.testing import NODE, Conversation, cluster, endpoints, names_in, snapshot_of

SCOPE = scope_of(NODE)


class Member:
    """A client that subscribes to the endpoints of some clusters, and counts how often it is woken."""

    def __init__(self, bench: Bench, variant: Variant, names: list[str]) -> None:
        self.bench = bench
        self.talk = Conversation(variant)
        self.names = names
        self.woken = 0
        self.client: Client = bench.fleet.join(
            peer="ipv4:10.0.0.1:1", method="test", connected_since=0.0, session=self.talk.session, wake=self._wake
        )
        bench.fleet.identify(self.client, NODE)
        self.talk.take = lambda request: bench.fleet.receive(self.client, request)
        ask = self.talk.sotw if variant is Variant.SOTW else self.talk.delta
        self.settle(ask(ENDPOINT, names))
        self.woken = 0

    def _wake(self) -> None:
        self.woken += 1

    def settle(self, responses: list[Message]) -> list[str]:
        """Acknowledge until there is silence; returns the names that were sent."""
        heard: list[str] = []
        while responses:
            response = responses.pop(0)
            heard += names_in(response)
            self.bench.pushes.note_sent(self.client.id)
            responses += self.talk.ack(response, self.names)
        self.bench.pushes.note_progress(self.client.id, self.talk.session.progress)
        return heard


class Bench:
    """A fleet in one scope that gets snapshots of endpoints."""

    def __init__(self) -> None:
        self.converged: list[PushStatus] = []
        self.pushes = PushLog(now=lambda: 0.0, wall_clock=lambda: 0.0, on_converged=self.converged.append)
        self.fleet = Fleet(self.pushes, on_scope_needed=lambda _: None)
        self.snapshot: Snapshot | None = None

    def publish(self, *messages: Message) -> None:
        self.snapshot = snapshot_of(*messages, previous=self.snapshot)
        self.fleet.publish({SCOPE: self.snapshot}, "test")


@pytest.fixture(params=[Variant.SOTW, Variant.DELTA])
def variant(request: pytest.FixtureRequest) -> Variant:
    chosen: Variant = request.param
    return chosen


def start(variant: Variant) -> tuple[Bench, Member, Member]:
    bench = Bench()
    first = Member(bench, variant, ["a"])
    bench.publish(endpoints("a", 1), endpoints("b", 1), cluster("a"))
    first.settle(first.talk.flush())
    second = Member(bench, variant, ["b", "new"])
    first.woken = 0
    return bench, first, second


def test_only_streams_that_watch_what_changed_are_woken(variant: Variant) -> None:
    bench, first, second = start(variant)
    bench.publish(endpoints("a", 1), endpoints("b", 2), cluster("a"))
    assert (first.woken, second.woken) == (0, 1)
    assert bench.pushes.recent()[-1].converged_after is None
    assert second.settle(second.talk.flush()) == ["b"]
    assert first.talk.flush() == []
    latest = bench.pushes.recent()[-1]
    assert (latest.clients, latest.touched, latest.acknowledged) == (2, 1, 1)
    assert latest.converged_after is not None


def test_a_name_that_was_absent_wakes_who_waits_for_it(variant: Variant) -> None:
    bench, first, second = start(variant)
    bench.publish(endpoints("a", 1), endpoints("b", 1), endpoints("new", 1), cluster("a"))
    assert (first.woken, second.woken) == (0, 1)
    assert second.settle(second.talk.flush()) == ["new"]


def test_who_slept_through_changes_hears_of_the_next_that_matters(variant: Variant) -> None:
    bench, first, second = start(variant)
    for port in (2, 3, 4):
        bench.publish(endpoints("a", 1), endpoints("b", port), cluster("a"))
        second.settle(second.talk.flush())
    assert first.woken == 0
    bench.publish(endpoints("a", 9), endpoints("b", 4), cluster("a"))
    assert first.woken == 1
    assert first.settle(first.talk.flush()) == ["a"]
    assert first.talk.session.snapshot is bench.snapshot


def test_a_sleeper_that_asks_for_more_gets_the_newest(variant: Variant) -> None:
    bench, first, _ = start(variant)
    bench.publish(endpoints("a", 1), endpoints("b", 7), cluster("a"))
    ask = first.talk.sotw if variant is Variant.SOTW else first.talk.delta
    first.names = ["a", "b"]
    responses = ask(ENDPOINT, ["a", "b"])
    assert first.settle(responses) in (["b"], ["a", "b"])
    assert bench.snapshot is not None
    newest = bench.snapshot.collection(ENDPOINT).resources["b"]
    assert first.talk.session.watches[ENDPOINT].delivered.sent["b"] is newest


def test_a_change_of_another_type_wakes_nobody_who_did_not_ask_for_it(variant: Variant) -> None:
    bench, first, second = start(variant)
    bench.publish(endpoints("a", 1), endpoints("b", 1), cluster("a", 2))
    assert (first.woken, second.woken) == (0, 0)
    assert bench.converged[-1].clients == 2


def test_who_left_or_unsubscribed_is_not_woken(variant: Variant) -> None:
    bench, first, second = start(variant)
    first.names = ["x"]
    sotw = variant is Variant.SOTW
    first.settle(first.talk.sotw(ENDPOINT, ["x"]) if sotw else first.talk.delta(ENDPOINT, ["x"], ["a"]))
    bench.fleet.leave(second.client)
    bench.publish(endpoints("a", 2), endpoints("b", 2))
    assert (first.woken, second.woken) == (0, 0)
    bench.publish(endpoints("a", 2), endpoints("b", 2), endpoints("x", 1))
    assert first.settle(first.talk.flush()) == ["x"]


def test_a_stream_that_has_not_answered_is_not_woken_for_others(variant: Variant) -> None:
    bench, _, second = start(variant)
    bench.publish(endpoints("a", 1), endpoints("b", 2), cluster("a"))
    sent = second.talk.flush()  # not acknowledged yet
    bench.publish(endpoints("a", 2), endpoints("b", 2), cluster("a"))
    assert second.woken == 1
    assert second.settle(sent) == ["b"]
    assert [push.converged_after for push in bench.pushes.recent()[1:2]] == [0.0]


def test_a_stream_that_has_not_answered_is_woken(variant: Variant) -> None:
    bench, first, second = start(variant)
    bench.publish(endpoints("a", 1), endpoints("b", 2), cluster("a"))
    second.talk.flush()  # sent, not acknowledged
    bench.publish(endpoints("a", 2), endpoints("b", 3), cluster("a"))
    assert (first.woken, second.woken) == (1, 2)


def test_a_wildcard_is_woken_by_every_change(variant: Variant) -> None:
    bench, _, _ = start(variant)
    everything = Member(bench, variant, ["*"])
    bench.publish(endpoints("a", 1), endpoints("b", 2), cluster("a"))
    assert everything.woken == 1
    assert everything.settle(everything.talk.flush()) == ["b"]


NAMES = ["a", "b", "c"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3))),
        st.tuples(st.just("settle"), st.integers(0, 1)),
        st.tuples(st.just("subscribe"), st.tuples(st.integers(0, 1), st.sets(st.sampled_from(NAMES), min_size=1))),
    ),
    max_size=40,
)


@given(steps=STEPS, variant=st.sampled_from(list(Variant)))
def test_sleepers_end_with_what_they_subscribe_to_whatever_they_slept_through(
    steps: list[tuple[str, Any]], variant: Variant
) -> None:
    bench = Bench()
    members = [Member(bench, variant, ["a"]), Member(bench, variant, ["b"])]
    bench.publish(endpoints("a", 1))
    for step, what in steps:
        match step:
            case "publish":
                bench.publish(*(endpoints(name, port) for name, port in sorted(what.items())))
            case "settle":
                members[what].settle(members[what].talk.flush())
            case _:
                _subscribe(members[what[0]], variant, sorted(what[1]))
    for member in members:
        member.settle(member.talk.flush())
        assert bench.snapshot is not None
        current = bench.snapshot.collection(ENDPOINT).resources
        sent = member.talk.session.watches[ENDPOINT].delivered.sent
        for name in member.names:
            if name in current:  # on SotW nobody can be told that endpoints are gone
                assert sent[name].version == current[name].version
            elif variant is Variant.DELTA:
                assert name not in sent


def _subscribe(member: Member, variant: Variant, names: list[str]) -> None:
    before, member.names = member.names, names
    if variant is Variant.SOTW:
        member.settle(member.talk.sotw(ENDPOINT, names))
    else:
        member.settle(member.talk.delta(ENDPOINT, names, [name for name in before if name not in names]))


def test_scopes_of_clients_that_poll_are_kept_for_a_while() -> None:
    needed: list[object] = []
    pushes = PushLog(now=lambda: 0.0, wall_clock=lambda: 0.0, on_converged=lambda _: None)
    fleet = Fleet(pushes, needed.append)
    fleet.hold("poll", now=0.0, seconds=10.0)
    assert needed == ["poll"]
    assert fleet.scopes_in_use() == frozenset({"poll"})
    first = snapshot_of(endpoints("a", 1))
    assert fleet.publish({"poll": first, "other": first}, "test") is not None
    assert (fleet.snapshot("poll"), fleet.snapshot("other")) == (first, None)
    assert fleet.publish({"poll": first}, "test") is None
    fleet.hold("poll", now=9.0, seconds=10.0)
    assert needed == ["poll"]
    fleet.hold("later", now=19.5, seconds=10.0)
    assert fleet.snapshot("poll") is None
    assert fleet.scopes_in_use() == frozenset({"later"})


def test_polling_clients_are_of_a_bounded_number_of_kinds() -> None:
    pushes = PushLog(now=lambda: 0.0, wall_clock=lambda: 0.0, on_converged=lambda _: None)
    fleet = Fleet(pushes, lambda _: None)
    for number in range(MAX_HELD):
        fleet.hold(number, now=0.0, seconds=10.0)
    with pytest.raises(StreamError, match="the limit"):
        fleet.hold("one more", now=0.0, seconds=10.0)
