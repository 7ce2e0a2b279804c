"""The catalog with dual mode: an instance with two addresses is published at the one that mesh consumers are to be shown."""

from __future__ import annotations

import pytest

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.explain import explain
from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.dualmode.policy import Choice, Policy, Rule, View
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, Side

KEY = ServiceKey("default", "greeter")
PORT = ServicePort("dubbo", 20880, "TCP")
N, M, G = Choice.NATIVE, Choice.MESH, Choice.GATEWAY
GATEWAY = Address("10.9.0.1", 80)


def claim(*endpoints: EndpointClaim) -> OriginReport:
    return OriginReport((ServiceClaim(KEY, (PORT,), endpoints),) if endpoints else ())


def native(last: int, **more: object) -> EndpointClaim:
    return EndpointClaim("dubbo", f"10.0.0.{last}", 20880, **more)  # type: ignore[arg-type]


def mesh(last: int, presence: Presence = Presence.UP) -> EndpointClaim:
    return EndpointClaim("dubbo", f"10.0.0.{last}", 20881, presence=presence, side=Side.MESH, instance=f"i{last}")


def catalog(count: int = 1) -> Catalog:
    """A legacy registry with native addresses, and the sidecars' registrations."""
    made = Catalog(["zk", "registration"])
    made.apply(SourceListed("zk", {"o": claim(*(native(n) for n in range(1, count + 1)))}))
    made.apply(SourceListed("registration", {"o": claim(*(mesh(n) for n in range(1, count + 1)))}))
    return made


def policy(*prefer: Choice, rules: tuple[Rule, ...] = ()) -> Policy:
    view = View(rules, prefer)
    return Policy("default", "p", namespaces=frozenset({"default"}), sdk=view, mesh=view, gateway=GATEWAY)


def published(one: Catalog, now: float = 0.0) -> list[str]:
    one.tick(now)
    one.take_changes(100, now)
    merged = one.services.get(KEY)
    workloads = () if merged is None else merged.workloads
    return sorted(f"{each.address}:{port}" for each in workloads for _, port in each.ports)


def test_an_instance_with_two_addresses_is_one_endpoint() -> None:
    one = catalog()
    assert published(one) == ["10.0.0.1:20881"]


def test_the_policy_decides_and_a_change_of_it_drains() -> None:
    one = catalog()
    assert published(one) == ["10.0.0.1:20881"]
    assert one.replace_policies([policy(N)]) == {"zk": frozenset({KEY}), "registration": frozenset({KEY})}
    assert published(one, 1.0) == ["10.0.0.1:20880", "10.0.0.1:20881"]
    assert one.next_tick() == 6.0
    assert published(one, 5.9) == ["10.0.0.1:20880", "10.0.0.1:20881"]
    assert published(one, 6.0) == ["10.0.0.1:20880"]
    assert one.next_tick() is None


def test_policies_that_stay_or_are_for_others_touch_nothing() -> None:
    one = catalog()
    one.replace_policies([policy(N)])
    published(one)
    assert one.replace_policies([policy(N)]) == {}
    others = Policy("default", "q", host="other", namespaces=frozenset({"default"}), mesh=View((), (M,)))
    abroad = Policy("else", "q", namespaces=frozenset({"else"}), mesh=View((), (M,)))
    assert one.replace_policies([policy(N), others, abroad]) == {}


@pytest.mark.parametrize("gone", [claim(), claim(mesh(1, Presence.UNHEALTHY))])
def test_a_dead_sidecar_shows_the_native_address_at_once(gone: OriginReport) -> None:
    one = catalog()
    one.replace_policies([policy(M, N)])
    assert published(one) == ["10.0.0.1:20881"]
    one.apply(OriginChanged("registration", "o", gone), 1.0)
    assert published(one, 1.0) == ["10.0.0.1:20880"]


def test_the_fields_of_an_instance_are_folded_from_both_addresses() -> None:
    one = catalog(2)
    one.apply(OriginChanged("zk", "o", claim(native(1, weight=300, labels=(("zone", "a"),)), native(2))))
    published(one)
    found = {each.address: each for each in one.services[KEY].workloads}
    assert (found["10.0.0.1"].weight, found["10.0.0.1"].labels) == (3, (("zone", "a"),))
    assert (found["10.0.0.2"].weight, found["10.0.0.2"].labels) == (1, ())


def test_a_share_of_the_instances() -> None:
    one = catalog(20)
    one.replace_policies([policy(N, rules=(Rule("r", 10, (M,)),))])
    assert sum(address.endswith(":20881") for address in published(one)) == 2
    assert len(published(one)) == 20


def test_a_gateway_stands_for_all_that_go_by_it() -> None:
    one = catalog(4)
    one.replace_policies([policy(N, rules=(Rule("r", 75, (G,)),))])
    published(one)
    weights = {each.address: each.weight for each in one.services[KEY].workloads}
    assert weights.pop("10.9.0.1") == 3
    assert list(weights.values()) == [1]
    one.replace_policies([policy(N)])
    published(one, 1.0)
    assert "10.9.0.1:80" not in published(one, 6.0)


def test_native_instances_without_policy_are_published_as_ever() -> None:
    one = Catalog(["zk"])
    one.apply(SourceListed("zk", {"o": claim(native(1), native(2, presence=Presence.UNHEALTHY))}))
    assert published(one) == ["10.0.0.1:20880"]
    assert dict(one.dual_modes.decisions) == {}


def test_what_sdk_consumers_are_shown_is_told_by_any_of_an_instances_names() -> None:
    one = catalog()
    one.replace_policies([policy(N)])
    published(one)
    addresses = (Address("10.0.0.1", 20880), Address("10.0.0.1", 20881))
    for name, first, second in (("i1", None, None), ("x", addresses[0], None), ("x", None, addresses[1])):
        asked = Instance(KEY, "TCP", name, "", (), first, second, native_up=False, mesh_up=False)
        assert one.dual_modes.show(asked) == (addresses[0],)
    stranger = Instance(KEY, "TCP", "x", "", (), Address("10.0.0.9", 1), None, native_up=True, mesh_up=False)
    assert one.dual_modes.show(stranger) == (Address("10.0.0.9", 1),)


def test_services_of_which_sdk_consumers_see_something_else_are_told_once() -> None:
    one = catalog()
    published(one)
    assert one.dual_modes.take_changed() == {KEY}
    assert one.dual_modes.take_changed() == frozenset()
    one.replace_policies([Policy("default", "p", namespaces=frozenset({"default"}), mesh=View((), (N,)))])
    published(one, 1.0)
    assert one.dual_modes.take_changed() == frozenset()
    one.apply(OriginChanged("zk", "o", claim()))
    one.apply(OriginChanged("registration", "o", claim()))
    published(one, 2.0)
    assert one.dual_modes.take_changed() == {KEY}
    assert dict(one.dual_modes.decisions) == {}


def test_the_explanation_says_what_dual_mode_hides() -> None:
    one = catalog()
    one.replace_policies([policy(N)])
    published(one)
    found = explain(one, KEY, 0.0)
    assert found is not None
    assert [(each["address"], each["published"], each["rule"]) for each in found["endpoints"]] == [
        ("10.0.0.1:20880", True, "up"),
        ("10.0.0.1:20881", False, "dual mode: policy default/p, rule prefer, shows 10.0.0.1:20880 of instance i1"),
    ]
    assert found["differs_from_what_registries_say_now"] is False


def test_what_registries_say_now_is_compared_under_the_same_policies() -> None:
    one = catalog()
    one.replace_policies([policy(N)])
    published(one)
    assert one.merge_as_said(KEY) == one.services[KEY]
