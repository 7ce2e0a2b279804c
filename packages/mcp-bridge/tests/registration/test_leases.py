"""Leases: what sidecars hold, over broken streams, moves, deaths and probes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.model import ServiceKey
from isthmus_mcp_bridge.registration.leases import LeaseLimits, LeaseRefused, LeaseTable
from isthmus_mcp_bridge.registration.model import Health, InstanceKey, Offer, Registered, SdkService

SERVICE = ServiceKey("default", "com.x.foo")
MESH, NATIVE = Address("10.0.0.1", 12200), Address("10.0.0.1", 20880)
LIMITS = LeaseLimits(grace_s=3.0, max_leases=3, max_instances=4)


def key(name: str = "one") -> InstanceKey:
    return InstanceKey(SdkService("dubbo", "com.x.Foo"), name)


def offer(name: str = "one", *, native: Address | None = NATIVE, health: Health = Health.UNKNOWN) -> Offer:
    return Offer(key(name), MESH, native, health=health)


def offers(*found: Offer) -> dict[InstanceKey, Offer]:
    return {one.key: one for one in found}


def up(table: LeaseTable, name: str = "one") -> tuple[bool, bool] | None:
    found = table.registered(key(name), SERVICE)
    return None if found is None else (found.instance.native_up, found.instance.mesh_up)


def held(table: LeaseTable, name: str = "one") -> Registered:
    found = table.registered(key(name), SERVICE)
    assert found is not None
    return found


@pytest.fixture
def table() -> LeaseTable:
    made = LeaseTable(LIMITS)
    assert made.begin(1, "node", "zone", 10, 0.0) is None
    assert made.say(1, offers(offer())) == []
    return made


def test_an_open_stream_is_a_lease(table: LeaseTable) -> None:
    assert up(table) == (True, True)
    assert (held(table).epoch, held(table).node, held(table).zone) == (10, "node", "zone")
    assert table.take_changed() == {key(): False}
    assert table.take_changed() == {}
    assert table.next_tick() is None
    table.say(1, {})
    assert up(table) is None
    assert table.take_changed() == {key(): False}


def test_a_silent_application_has_no_address_that_is_up(table: LeaseTable) -> None:
    table.say(1, offers(offer(health=Health.SILENT)))
    assert up(table) == (False, False)
    table.end(1, 1.0)
    table.tick(4.0)
    assert up(table) is None


def test_a_broken_stream_keeps_its_lease_for_the_grace_and_then_the_application_if_it_answers(
    table: LeaseTable,
) -> None:
    table.end(1, 10.0)
    assert table.take_probes(10.0) == [(key(), NATIVE, MESH)]
    assert table.take_probes(10.0) == []
    table.probed(key(), True, 10.1)
    table.tick(12.9)
    assert up(table) == (True, True)
    table.tick(13.0)
    assert up(table) == (True, False)
    assert table.take_probes(13.0) == [(key(), NATIVE, MESH)]
    table.probed(key(), False, 14.0)
    assert up(table) == (True, False)
    assert table.take_probes(14.9) == []
    table.take_probes(15.0)
    table.probed(key(), False, 16.0)
    assert up(table) is None
    assert table.leases == {}


def test_where_nobody_answers_at_the_sidecar_the_application_is_shown_within_the_grace(table: LeaseTable) -> None:
    table.end(1, 10.0)
    table.take_probes(10.0)
    table.probed(key(), False, 10.1, mesh_up=False)
    assert up(table) == (False, True)
    table.take_probes(11.1)
    table.probed(key(), True, 11.2, mesh_up=False)
    assert up(table) == (True, False)
    table.take_probes(12.2)
    table.probed(key(), True, 12.3, mesh_up=True)
    assert up(table) == (True, True)
    table.begin(2, "node", "", 11, 12.5)
    assert up(table) == (True, True)


def test_an_application_that_never_answered_goes_with_the_grace(table: LeaseTable) -> None:
    table.end(1, 10.0)
    for now in (10.0, 11.0):
        table.take_probes(now)
        table.probed(key(), False, now)
    assert up(table) == (False, True)
    table.tick(13.0)
    assert up(table) is None


def test_a_sidecar_without_a_native_address_goes_with_the_grace(table: LeaseTable) -> None:
    table.say(1, offers(offer(native=None)))
    table.end(1, 10.0)
    assert table.next_tick() == 13.0
    table.tick(13.0)
    assert up(table) is None
    assert table.leases == {}


def test_a_goodbye_needs_no_grace(table: LeaseTable) -> None:
    table.say(1, {})
    table.end(1, 10.0)
    assert table.leases == {}
    assert table.next_tick() is None


def test_a_sidecar_that_is_about_to_stop_gives_way_to_its_application(table: LeaseTable) -> None:
    table.say(1, offers(offer(), offer("two", native=None)))
    table.leave(1, 10.0)
    assert (up(table), up(table, "two")) == ((False, True), (False, False))
    table.take_probes(10.0)
    table.probed(key(), True, 10.1)
    assert up(table) == (True, False)
    table.end(1, 11.0)
    assert (up(table), up(table, "two")) == ((True, False), None)
    assert table.leases["node"].state == "over"
    assert table.begin(2, "node", "", 11, 12.0) is None
    assert up(table) == (True, True)


def test_a_sidecar_that_is_about_to_stop_and_whose_application_is_gone_leaves_nothing(table: LeaseTable) -> None:
    table.leave(1, 10.0)
    for now in (10.0, 11.0):
        table.take_probes(now)
        table.probed(key(), False, now)
    assert up(table) == (False, False)
    table.end(1, 12.0)
    assert table.leases == {}


def test_the_next_stream_of_a_node_takes_the_lease(table: LeaseTable) -> None:
    table.take_changed()
    assert table.begin(2, "node", "zone", 11, 5.0) == 1
    assert held(table).epoch == 11
    assert key() in table.take_changed()
    assert table.say(1, {}) == ["the lease of this stream has gone to another one"]
    table.end(1, 6.0)
    table.tick(100.0)
    assert up(table) == (True, True)
    with pytest.raises(LeaseRefused, match="greater epoch 11"):
        table.begin(3, "node", "", 10, 7.0)


def test_a_greater_epoch_elsewhere_outdoes_the_lease_for_good(table: LeaseTable) -> None:
    table.outdo(key(), 10)
    assert up(table) == (True, True)
    table.outdo(key(), 12)
    assert up(table) is None
    assert table.take_changed() == {key(): True}
    assert "greater epoch 12" in table.say(1, offers(offer()))[0]
    table.end(1, 1.0)
    table.begin(2, "node", "", 13, 2.0)
    assert table.say(2, offers(offer())) == []
    assert held(table).epoch == 13


def test_of_two_nodes_with_one_instance_the_greater_epoch_has_it(table: LeaseTable) -> None:
    table.begin(2, "other", "", 9, 1.0)
    assert table.say(2, offers(offer())) == [f"instance: one: of {key().service} is held by the node node"]
    table.begin(3, "third", "", 20, 1.0)
    assert table.say(3, offers(offer())) == []
    assert held(table).node == "third"
    assert table.say(1, offers(offer())) != []


def test_there_are_bounds(table: LeaseTable) -> None:
    assert len(table.say(1, offers(*(offer(str(number)) for number in range(5))))) == 1
    assert len(table.instances) == 4
    table.begin(2, "b", "", 1, 0.0)
    table.begin(3, "c", "", 1, 0.0)
    with pytest.raises(LeaseRefused, match="max_leases"):
        table.begin(4, "d", "", 1, 0.0)
    assert table.overflows == 2


events = st.lists(
    st.tuples(
        st.sampled_from(["begin", "say", "end", "leave", "outdo", "probed", "time"]),
        st.integers(0, 3),
        st.lists(st.sampled_from(["one", "two", "three"]), max_size=2, unique=True),
        st.booleans(),
    ),
    max_size=40,
)


@given(events)
def test_whatever_happens_the_table_agrees_with_itself(script: list[tuple[str, int, list[str], bool]]) -> None:
    table, now, epoch, stream = LeaseTable(LeaseLimits(max_leases=2, max_instances=2)), 0.0, 0, 0
    streams: dict[int, int] = {}
    shadow: dict[InstanceKey, Registered] = {}
    for kind, number, names, flag in script:
        if kind == "begin":
            stream, epoch = stream + 1, epoch + flag
            try:
                table.begin(stream, f"node{number}", "", epoch, now)
                streams[number] = stream
            except LeaseRefused:
                pass
        elif kind == "say" and number in streams:
            table.say(streams[number], offers(*(offer(name, native=NATIVE if flag else None) for name in names)))
        elif kind == "end" and number in streams:
            table.end(streams.pop(number), now)
        elif kind == "leave" and number in streams:
            table.leave(streams[number], now)
        elif kind == "outdo":
            table.outdo(key(names[0] if names else "one"), number)
        elif kind == "probed":
            for asked, _, _ in table.take_probes(now):
                table.probed(asked, flag, now, mesh_up=number > 1)
        elif kind == "time":
            now += number
            table.tick(now)
        for changed in table.take_changed():
            found = table.registered(changed, SERVICE)
            shadow.pop(changed, None)
            if found is not None:
                shadow[changed] = found
        actual = {one: held(table, one.id) for one in table.instances}
        assert shadow == actual
        assert len(table.instances) <= 2
        assert len(table.leases) <= 2
        open_nodes = {lease.node for lease in table.leases.values() if lease.stream is not None}
        for lease in table.leases.values():
            assert lease.offers or lease.node in open_nodes
            if lease.broken_at is not None and now >= lease.broken_at + 3.0 and kind == "time":
                assert all(not shadow[one].instance.mesh_up for one in lease.offers)


def restored(table: LeaseTable, now: float = 0.0) -> LeaseTable:
    """Another table that knows what this one keeps."""
    again = LeaseTable(LIMITS)
    again.restore(table.kept(), now)
    return again


def test_after_a_restart_only_what_answers_itself_is_shown_once_the_grace_is_over(table: LeaseTable) -> None:
    table.say(1, offers(offer(), offer("alone", native=None), offer("mute", health=Health.SILENT)))
    again = restored(table)
    assert again.instances == [key()]
    assert again.take_probes(0.0) == [(key(), NATIVE, MESH)]
    again.probed(key(), up=True, now=0.1)
    assert up(again) is None, "the sidecar may still come"
    again.tick(LIMITS.grace_s)
    assert up(again) == (True, False)
    assert again.take_changed() == {key(): False}
    for now in (4.0, 5.0):
        again.probed(key(), up=False, now=now)
    assert again.instances == []
    assert again.leases == {}


def test_after_a_restart_nothing_is_shown_of_an_application_that_does_not_answer(table: LeaseTable) -> None:
    again = restored(table)
    for now in (0.1, 1.2):
        again.probed(key(), up=False, now=now)
        assert up(again) is None
    again.tick(LIMITS.grace_s)
    assert again.instances == []


@pytest.mark.parametrize("at", [1.0, 10.0])
def test_a_sidecar_that_comes_back_takes_its_restored_lease(table: LeaseTable, at: float) -> None:
    again = restored(table)
    again.probed(key(), up=True, now=0.1)
    again.tick(at)
    with pytest.raises(LeaseRefused):
        again.begin(1, "node", "zone", 9, at)
    again.begin(2, "node", "zone", 11, at)
    again.say(2, offers(offer()))
    assert up(again) == (True, True)
    assert held(again).epoch == 11
    again.say(2, {})
    assert again.kept() == []


def test_a_restored_lease_gives_way_to_what_another_replica_has_written_since(table: LeaseTable) -> None:
    again = restored(table)
    again.outdo_restored(key(), 10)
    assert again.instances == [key()], "that is its own entry of before"
    again.outdo_restored(key(), 11)
    assert again.instances == []
    table.outdo_restored(key(), 99)
    assert up(table) == (True, True), "a lease with a stream is told by its registry"


def test_what_is_restored_is_bounded_and_leaves_what_is_held_alone(table: LeaseTable) -> None:
    again = LeaseTable(LeaseLimits(max_leases=2))
    again.begin(1, "other", "", 20, 0.0)
    again.say(1, offers(offer()))
    again.restore(table.kept(), 0.0)
    assert list(again.leases) == ["other"]
    assert held(again).epoch == 20
    full = LeaseTable(LeaseLimits(max_leases=1))
    full.begin(1, "other", "", 20, 0.0)
    full.restore(table.kept(), 0.0)
    assert list(full.leases) == ["other"]
