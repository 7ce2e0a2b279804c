"""Which form of each object is in use, over sequences of changes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.admission import Admission
from isthmus_controlplane.model.model import subsets_of
from isthmus_controlplane.model.testing import admitted, make, rule, service, split, virtual_service
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey

HOST = "reviews.shop"
SERVICE = service(HOST, "v1", "v2")
RULE = rule(HOST, "v1", "v2")
ROUTE = split(HOST, {"v1": 90, "v2": 10})
ROUTE_KEY, RULE_KEY = ROUTE.key, RULE.key


def messages(admission: Admission, key: ObjectKey) -> list[str]:
    return [f"{each.path}: {each.message}" for each in admission.problems if each.origin.endswith(f"({key})")]


def subsets(admission: Admission) -> list[str]:
    (held,) = admission.model.rules.get(HOST, (None,))
    return [] if held is None else [subset.name for subset in held.spec.subsets]  # type: ignore[attr-defined]


def test_consistent_objects_are_all_in_use() -> None:
    admission = admitted([SERVICE, RULE, ROUTE])
    assert (admission.problems, admission.held) == ((), frozenset())
    assert admission.in_use.keys() == {SERVICE.key, RULE_KEY, ROUTE_KEY}
    assert admission.model.route(HOST, "default") is ROUTE


def test_a_route_to_a_missing_subset_leaves_the_last_good_one_in_use() -> None:
    before = admitted([SERVICE, RULE, ROUTE])
    after = admitted([SERVICE, RULE, split(HOST, {"v1": 50, "v3": 50})], before)
    assert after.in_use[ROUTE_KEY] is ROUTE
    assert after.held == {ROUTE_KEY}
    (message,) = messages(after, ROUTE_KEY)
    assert message.startswith("spec.http[0].route[1].destination.subset: the subset 'v3' does not exist")
    assert "the form before this change stays in use" in message


def test_a_held_route_comes_into_use_when_its_subset_appears() -> None:
    new = split(HOST, {"v3": 100})
    held = admitted([SERVICE, RULE, new], admitted([SERVICE, RULE, ROUTE]))
    after = admitted([SERVICE, rule(HOST, "v1", "v2", "v3"), new], held)
    assert after.in_use[ROUTE_KEY] is new
    assert after.problems == ()


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (split(HOST, {"v9": 1}), "destination.subset"),
        (virtual_service(HOST, {"route": [{"destination": {"host": "nobody.shop"}}]}), "destination.host"),
        (virtual_service(HOST, {"route": [{"destination": {"host": HOST, "port": {"number": 99}}}]}), "port.number"),
    ],
)
def test_a_new_route_to_something_missing_is_not_used(route: ConfigObject, path: str) -> None:
    admission = admitted([SERVICE, RULE, route])
    assert route.key not in admission.in_use
    (message,) = messages(admission, route.key)
    assert path in message
    assert "this object is not in use" in message


def test_a_removed_subset_stays_while_a_route_uses_it() -> None:
    first = admitted([SERVICE, RULE, ROUTE])
    second = admitted([SERVICE, rule(HOST, "v1"), ROUTE], first)
    assert subsets(second) == ["v1", "v2"]
    assert second.held == {RULE_KEY}
    third = admitted([SERVICE, rule(HOST, "v1"), ROUTE], second)
    assert subsets(third) == ["v1", "v2"]
    fourth = admitted([SERVICE, rule(HOST, "v1"), split(HOST, {"v1": 100})], third)
    assert subsets(fourth) == ["v1"]
    assert fourth.problems == ()


def test_a_deleted_rule_stays_as_far_as_a_route_uses_it() -> None:
    before = admitted([SERVICE, rule(HOST, "v1", "v2", "v3"), ROUTE])
    after = admitted([SERVICE, ROUTE], before)
    assert sorted(subsets(after)) == ["v1", "v2"]
    assert sorted(subsets(admitted([SERVICE, ROUTE], after))) == ["v1", "v2"]
    assert subsets(admitted([SERVICE], after)) == []


def test_a_rule_that_turns_to_another_host_leaves_its_used_subsets_behind() -> None:
    other = service("other.shop", "v1")
    moved = rule("other.shop", "v1", "v2", name=RULE_KEY.name)
    after = admitted([SERVICE, other, moved, ROUTE], admitted([SERVICE, other, RULE, ROUTE]))
    assert subsets(after) == ["v1", "v2"]
    assert after.in_use[RULE_KEY] is moved
    again = admitted([SERVICE, other, moved, ROUTE], after)
    assert (again.model, again.problems) == (after.model, after.problems)
    assert admitted([SERVICE, other, moved], again).in_use.keys() == {SERVICE.key, other.key, RULE_KEY}


def test_a_route_whose_destination_disappears_stays_and_is_reported() -> None:
    route = virtual_service(HOST, {"route": [{"destination": {"host": "other.shop"}}]})
    before = admitted([SERVICE, service("other.shop", "v1"), route])
    after = admitted([SERVICE, route], before)
    assert after.in_use[route.key] is route
    assert after.held == {route.key}
    assert "get 503" in messages(after, route.key)[0]


def test_hosts_belong_to_who_came_first() -> None:
    first = admitted([service(HOST, "v1", name="zzz")])
    after = admitted([service(HOST, "v1", name="zzz"), service(HOST, "v2", name="aaa")], first)
    assert after.model.services[HOST].key.name == "zzz"
    assert after.held == {ObjectKey("ServiceEntry", "default", "aaa")}
    again = admitted([service(HOST, "v1", name="zzz"), service(HOST, "v2", name="aaa")], after)
    assert again.model.services[HOST].key.name == "zzz"


def test_a_port_conflict_leaves_the_first_service_alone() -> None:
    tcp = service("db.shop", "v1", protocol="TCP")
    admission = admitted([SERVICE, tcp], admitted([SERVICE]))
    assert [port.number for port in admission.model.services[HOST].ports] == [8080]
    assert admission.model.services["db.shop"].ports == ()
    (message,) = messages(admission, tcp.key)
    assert message.startswith("spec.ports: port 8080 (TCP) of 'db.shop' conflicts with 'reviews.shop' (HTTP)")


def test_tcp_services_share_a_port_when_they_have_addresses() -> None:
    one = service("a.shop", "v1", protocol="TCP", addresses=["240.0.0.1"])
    two = service("b.shop", "v1", protocol="TCP", addresses=["240.0.0.2"])
    three = service("c.shop", "v1", protocol="TCP", addresses=["240.0.0.2"])
    assert admitted([one, two]).problems == ()
    assert admitted([one, two, three]).held == {three.key}


def test_two_routes_for_one_host_are_reported_and_the_first_wins() -> None:
    other = virtual_service(HOST, {"route": [{"destination": {"host": HOST}}]}, name="zzz")
    admission = admitted([SERVICE, RULE, ROUTE, other])
    assert admission.model.route(HOST, "default") is ROUTE
    assert "already governed by" in messages(admission, other.key)[0]


def test_routes_exported_to_different_namespaces_do_not_conflict() -> None:
    shop = virtual_service(HOST, {"route": [{"destination": {"host": HOST}}]}, name="a", exportTo=["shop"])
    other = virtual_service(HOST, {"directResponse": {"status": 404}}, name="b", exportTo=["other"])
    admission = admitted([SERVICE, shop, other])
    assert admission.problems == ()
    assert admission.model.route(HOST, "shop") is shop
    assert admission.model.route(HOST, "other") is other
    assert admission.model.route(HOST, "default") is None


def test_a_route_for_an_unknown_host_is_in_use_but_reported() -> None:
    route = virtual_service("unknown.shop", {"route": [{"destination": {"host": HOST}}]})
    admission = admitted([SERVICE, route])
    assert route.key in admission.in_use
    assert "take no requests" in messages(admission, route.key)[0]
    assert admission.held == frozenset()


def test_a_destination_with_several_ports_must_say_which() -> None:
    ports = [{"number": number, "name": f"p{number}", "protocol": "HTTP"} for number in (81, 82)]
    many = service("many.shop", ports=ports, endpoints=[])
    vague = virtual_service(HOST, {"route": [{"destination": {"host": "many.shop"}}]})
    exact = virtual_service(HOST, {"route": [{"destination": {"host": "many.shop", "port": {"number": 82}}}]})
    assert "has several HTTP ports (81, 82)" in messages(admitted([SERVICE, many, vague]), vague.key)[0]
    assert admitted([SERVICE, many, exact]).problems == ()


def test_workload_entries_join_the_services_that_select_them() -> None:
    selector = {"labels": {"app": "reviews"}}
    entry = service(HOST, endpoints=[], workloadSelector=selector)
    mine = make("WorkloadEntry", "w1", {"address": "10.1.0.1", "labels": {"app": "reviews", "version": "v1"}})
    other = make("WorkloadEntry", "w2", {"address": "10.1.0.2", "labels": {"app": "ratings"}})
    elsewhere = make("WorkloadEntry", "w3", {"address": "10.1.0.3", "labels": {"app": "reviews"}}, namespace="x")
    (found,) = admitted([entry, mine, other, elsewhere]).model.services.values()
    assert [endpoint.address for endpoint in found.endpoints] == ["10.1.0.1"]
    assert found.origins == (entry.key, mine.key)


POOL = [
    SERVICE,
    service(HOST, "v9", name="rival"),
    service("db.shop", "v1", protocol="TCP"),
    RULE,
    rule(HOST, "v1", name="second"),
    ROUTE,
    split(HOST, {"v3": 1}, name="broken"),
]


WORLDS = st.lists(st.sets(st.sampled_from(range(len(POOL)))), min_size=1, max_size=6)


@given(WORLDS, st.integers())
def test_the_order_of_objects_does_not_matter(worlds: list[set[int]], seed: int) -> None:
    source = random.Random(seed)
    one = two = admitted([])
    for world in worlds:
        objects = [POOL[index] for index in sorted(world)]
        one, two = admitted(objects, one), admitted(source.sample(objects, len(objects)), two)
        assert (one.problems, one.held, dict(one.ranks)) == (two.problems, two.held, dict(two.ranks))
        assert one.model == two.model


@given(WORLDS)
def test_a_route_in_use_never_loses_a_subset_that_it_needs(worlds: list[set[int]]) -> None:
    state = admitted([])
    for world in worlds:
        before, state = state, admitted([POOL[index] for index in world], state)
        if ROUTE_KEY in before.in_use and ROUTE_KEY in state.in_use:
            assert {"v1", "v2"} <= {name for held in state.model.rules[HOST] for name in subsets_of(held)}
