"""The engine: draining, fall-back, shares; properties over any history of policies, instances and time."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isthmus_mcp_bridge.dualmode.decide import NOTHING_DECIDED, Decided, Decision, Shown, decide
from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.dualmode.policy import Choice, Order, Override, Policy, Rule, View
from isthmus_mcp_bridge.model import ServiceKey

SERVICE = ServiceKey("default", "greeter")
GATEWAY = Address("10.9.0.1", 80)
IDS = [f"i{number}" for number in range(12)]

orders = st.lists(st.sampled_from(Choice), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def views(draw: st.DrawFn) -> View:
    percents = draw(st.lists(st.integers(0, 50), max_size=2))
    rules = tuple(Rule(str(number), percent, draw(orders)) for number, percent in enumerate(percents))
    return View(rules, draw(orders | st.just(())))


@st.composite
def policies(draw: st.DrawFn) -> list[Policy]:
    return [
        Policy(
            "default",
            f"p{number}",
            host=draw(st.sampled_from(["", "greeter", "other"])),
            application=draw(st.sampled_from(["", "a", "b"])),
            labels=draw(st.sampled_from([(), (("zone", "a"),)])),
            namespaces=frozenset({"default"}),
            sdk=draw(views()),
            mesh=draw(views()),
            gateway=GATEWAY,
            overlap_s=draw(st.sampled_from([0.0, 3.0, 5.0])),
            overrides=tuple(
                Override(name, draw(orders | st.just(())), draw(orders))
                for name in draw(st.lists(st.sampled_from(IDS), max_size=2, unique=True))
            ),
        )
        for number in range(draw(st.integers(0, 3)))
    ]


@st.composite
def instances(draw: st.DrawFn) -> list[Instance]:
    found = []
    for name in draw(st.lists(st.sampled_from(IDS), max_size=8, unique=True)):
        number = IDS.index(name)
        native = draw(st.sampled_from([None, Address(f"10.0.0.{number}", 1), Address(f"10.0.0.{number}", 2)]))
        mesh = draw(st.sampled_from([None, Address(f"10.0.1.{number}", 1)]))
        found.append(
            Instance(
                SERVICE,
                "TCP",
                name,
                draw(st.sampled_from(["a", "b"])),
                draw(st.sampled_from([(), (("zone", "a"),)])),
                native,
                mesh,
                native_up=native is not None and draw(st.booleans()),
                mesh_up=mesh is not None and draw(st.booleans()),
            )
        )
    return found


LONG_S = 100.0
NATIVE, MESH = Address("10.0.0.1", 20880), Address("10.0.0.1", 20881)
ONE = Instance(SERVICE, "TCP", "a", "app", (), NATIVE, MESH, native_up=True, mesh_up=True)
N, M, G = Choice.NATIVE, Choice.MESH, Choice.GATEWAY

Step = tuple[list[Policy], list[Instance], float]
steps = st.tuples(policies(), instances(), st.sampled_from([0.0, 1.0, 4.0, LONG_S]))


def policy(*prefer: Choice, name: str = "p", overlap_s: float = 5.0, **more: object) -> Policy:
    view = View((), prefer)
    known = {"sdk": view, "mesh": view, "gateway": GATEWAY, "namespaces": frozenset({"default"})} | more
    return Policy("default", name, overlap_s=overlap_s, **known)  # type: ignore[arg-type]


def only(decision: Decision) -> Decided:
    (found,) = decision.instances.values()
    return found


def run(history: list[Step]) -> list[tuple[Step, float, Decision]]:
    """Decide step by step; each step's time counts from the one before."""
    decision, now, found = NOTHING_DECIDED, 0.0, []
    for step in history:
        now += step[2]
        decision = decide(step[0], step[1], now, decision)
        found.append((step, now, decision))
    return found


def both(one: Decided) -> tuple[Shown, Shown]:
    return one.sdk, one.mesh


@pytest.mark.parametrize(
    ("prefer", "native_up", "mesh_up", "shown"),
    [
        ((N, M), True, True, NATIVE),
        ((M, N), True, True, MESH),
        ((M, N), True, False, NATIVE),
        ((N, M), False, True, MESH),
        ((N,), False, True, MESH),
        ((M,), True, False, NATIVE),
        ((M, G), True, False, GATEWAY),
        ((G,), True, True, GATEWAY),
        ((N, M, G), False, False, GATEWAY),
        ((N, M), False, False, None),
    ],
)
def test_the_first_address_that_is_up(prefer: Order, native_up: bool, mesh_up: bool, shown: Address | None) -> None:
    instance = dataclasses.replace(ONE, native_up=native_up, mesh_up=mesh_up)
    found = only(decide([policy(*prefer)], [instance], 0.0, NOTHING_DECIDED))
    assert [side.addresses for side in both(found)] == [() if shown is None else (shown,)] * 2


def test_without_a_policy_the_sidecar_comes_first_as_it_takes_over_when_it_registers() -> None:
    found = only(decide([], [ONE], 0.0, NOTHING_DECIDED))
    assert (found.sdk.address, found.mesh.address, found.sdk.ordered.policy) == (MESH, MESH, None)


def test_a_side_that_a_policy_says_nothing_about_is_not_governed() -> None:
    found = only(decide([policy(sdk=View(), mesh=View((), (N,)))], [ONE], 0.0, NOTHING_DECIDED))
    assert (found.sdk.address, found.sdk.ordered.policy) == (MESH, None)
    assert (found.mesh.address, found.mesh.ordered.rule) == (NATIVE, "prefer")


def test_a_change_shows_the_new_address_first_and_drains_the_old_one() -> None:
    before = decide([policy(N, M)], [ONE], 0.0, NOTHING_DECIDED)
    changed = decide([policy(M, N)], [ONE], 1.0, before)
    assert only(changed).sdk.addresses == (MESH, NATIVE)
    assert changed.next_due() == 6.0
    assert only(decide([policy(M, N)], [ONE], 5.9, changed)).mesh.addresses == (MESH, NATIVE)
    after = decide([policy(M, N)], [ONE], 6.0, changed)
    assert (only(after).sdk.addresses, after.next_due()) == ((MESH,), None)


def test_going_back_within_the_overlap() -> None:
    first = decide([policy(N, M)], [ONE], 0.0, NOTHING_DECIDED)
    there = decide([policy(M, N)], [ONE], 1.0, first)
    back = decide([policy(N, M)], [ONE], 2.0, there)
    assert only(back).sdk.addresses == (NATIVE, MESH)
    assert only(decide([policy(N, M)], [ONE], 7.0, back)).sdk.addresses == (NATIVE,)


@pytest.mark.parametrize(
    "gone", [dataclasses.replace(ONE, mesh_up=False), dataclasses.replace(ONE, mesh=None, mesh_up=False)]
)
def test_a_dead_sidecar_is_withdrawn_at_once(gone: Instance) -> None:
    before = decide([policy(M, N)], [ONE], 0.0, NOTHING_DECIDED)
    assert only(decide([policy(M, N)], [gone], 1.0, before)).mesh.addresses == (NATIVE,)


def test_a_sidecar_that_dies_while_it_drains_is_withdrawn_at_once() -> None:
    before = decide([policy(M, N)], [ONE], 0.0, NOTHING_DECIDED)
    draining = decide([policy(N, M)], [ONE], 1.0, before)
    dead = dataclasses.replace(ONE, mesh_up=False)
    assert only(decide([policy(N, M)], [dead], 2.0, draining)).mesh.addresses == (NATIVE,)


def test_a_gateway_drains_although_the_policy_no_longer_has_one() -> None:
    before = decide([policy(G, N)], [ONE], 0.0, NOTHING_DECIDED)
    bare = policy(N, M, gateway=None)
    changed = decide([bare], [ONE], 1.0, before)
    assert only(changed).sdk.addresses == (NATIVE, GATEWAY)
    assert only(decide([bare], [ONE], 2.0, changed)).sdk.addresses == (NATIVE, GATEWAY)


def test_an_instance_that_is_renamed_when_its_sidecar_comes_drains_all_the_same() -> None:
    alone = dataclasses.replace(ONE, id=str(NATIVE), mesh=None, mesh_up=False)
    before = decide([policy(M, N)], [alone], 0.0, NOTHING_DECIDED)
    assert only(decide([policy(M, N)], [ONE], 1.0, before)).sdk.addresses == (MESH, NATIVE)


@pytest.mark.parametrize("name", ["a", str(NATIVE), str(MESH)])
def test_an_override_names_an_instance_or_one_of_its_addresses(name: str) -> None:
    overriding = policy(N, overrides=(Override(name, mesh=(M,)),))
    found = only(decide([overriding], [ONE], 0.0, NOTHING_DECIDED))
    assert (found.mesh.address, found.mesh.ordered.rule) == (MESH, "override")
    assert (found.sdk.address, found.sdk.ordered.rule) == (NATIVE, "prefer")


def twenty(meshed: int = 20) -> list[Instance]:
    return [
        Instance(
            SERVICE, "TCP", f"10.0.0.{n}:20880", "app", (), Address(f"10.0.0.{n}", 20880),
            Address(f"10.0.0.{n}", 20881) if n < meshed else None, native_up=True, mesh_up=n < meshed,
        )
        for n in range(20)
    ]  # fmt: skip


def on_mesh(found: list[Instance], *rules: Rule) -> frozenset[str]:
    view = View(rules, (N,))
    decision = decide([policy(sdk=view, mesh=view)], found, 0.0, NOTHING_DECIDED)
    return frozenset(one.instance.id for one in decision.instances.values() if one.mesh.choice is M)


@pytest.mark.parametrize(("percent", "count"), [(0, 0), (0.1, 1), (5, 1), (10, 2), (12.5, 3), (99.9, 20), (100, 20)])
def test_shares_are_exact_and_part_of_an_instance_counts_as_one(percent: float, count: int) -> None:
    assert len(on_mesh(twenty(), Rule("r", percent, (M,)))) == count


def test_instances_without_a_sidecar_do_not_use_up_the_share_of_the_mesh() -> None:
    assert len(on_mesh(twenty(meshed=4), Rule("r", 20, (M,)))) == 4
    assert len(on_mesh(twenty(meshed=4), Rule("r", 60, (M,)))) == 4


def test_rules_take_from_what_those_before_them_left() -> None:
    rules = View((Rule("a", 10, (M,)), Rule("b", 25, (G,))), (N,))
    decision = decide([policy(sdk=rules, mesh=rules)], twenty(), 0.0, NOTHING_DECIDED)
    names = [one.sdk.ordered.rule for one in decision.instances.values()]
    assert {name: names.count(name) for name in names} == {"a": 2, "b": 5, "prefer": 13}


@given(instances(), st.lists(st.integers(0, 100), min_size=2, max_size=2).map(sorted), st.integers(0, 100))
def test_raising_a_share_only_adds_instances(found: list[Instance], percents: list[int], before: int) -> None:
    low, high = percents
    first = Rule("first", min(before, 100 - high), (G,))
    assert on_mesh(found, Rule("r", low, (M,))) <= on_mesh(found, Rule("r", high, (M,)))
    taken = [
        {
            key
            for key, one in decide(
                [policy(sdk=View((first, Rule("r", percent, (N,)))))], found, 0.0, NOTHING_DECIDED
            ).instances.items()
            if one.sdk.ordered.rule == "r"
        }
        for percent in (low, high)
    ]
    assert taken[0] <= taken[1]


@given(instances(), st.integers(0, 100))
def test_shares_are_exact_whatever_the_instances(found: list[Instance], percent: int) -> None:
    view = View((Rule("r", percent, (M,)),), (N,))
    decision = decide([policy(sdk=view)], found, 0.0, NOTHING_DECIDED)
    taken = sum(one.sdk.ordered.rule == "r" for one in decision.instances.values())
    assert taken == math.ceil(len(found) * percent / 100)


@settings(max_examples=40)
@given(st.lists(steps, max_size=6))
def test_something_is_shown_as_long_as_an_address_is_up_and_nothing_that_is_down(history: list[Step]) -> None:
    for (_, found, _), _, decision in run(history):
        assert {one.id for one in found} == {key[2] for key in decision.instances}
        for one in decision.instances.values():
            instance = one.instance
            up = {a for a, is_up in ((instance.native, instance.native_up), (instance.mesh, instance.mesh_up)) if is_up}
            for side in both(one):
                assert side.addresses or not up
                assert set(side.addresses) <= up | {GATEWAY}
                assert len(set(side.addresses)) == len(side.addresses)


@settings(max_examples=40)
@given(st.lists(steps, min_size=2, max_size=6))
def test_what_was_shown_first_stays_valid_for_the_overlap(history: list[Step]) -> None:
    made = run(history)
    for (_, _, before), (_, now, after) in itertools.pairwise(made):
        for key, one in after.instances.items():
            if key not in before.instances:
                continue
            for old, new in zip(both(before.instances[key]), both(one), strict=True):
                ours = one.instance
                alive = old.choice is G or (old.address, True) in {
                    (ours.native, ours.native_up),
                    (ours.mesh, ours.mesh_up),
                }
                overlap_s = new.ordered.policy.overlap_s if new.ordered.policy is not None else 5.0
                if old.address is not None and alive and overlap_s:
                    assert old.address in new.addresses
                    assert new.address == old.address or any(
                        each.address == old.address and each.until == now + overlap_s for each in new.draining
                    )


@settings(max_examples=40)
@given(st.lists(steps, max_size=5), steps)
def test_replicas_with_different_pasts_agree_once_overlaps_are_over(history: list[Step], last: Step) -> None:
    now = sum(step[2] for step in history) + last[2]
    one = decide(last[0], last[1], now + LONG_S, run([*history, last])[-1][2])
    other = decide(last[0], list(reversed(last[1])), 7.0, NOTHING_DECIDED)
    assert one == other
    assert one.next_due() is None


@settings(max_examples=40)
@given(st.lists(steps, max_size=5))
@example([])
def test_equal_pasts_decide_alike(history: list[Step]) -> None:
    shuffled = [(list(reversed(each)), list(reversed(found)), time) for each, found, time in history]
    assert [made for _, _, made in run(history)] == [made for _, _, made in run(shuffled)]


@settings(max_examples=40)
@given(st.lists(steps, max_size=5))
def test_deciding_again_changes_nothing(history: list[Step]) -> None:
    for (each, found, _), now, decision in run(history):
        assert decide(each, found, now, decision) == decision
