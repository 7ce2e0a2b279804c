"""Which native and which mesh endpoint are one instance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog.rules import DEFAULT_RULES
from isthmus_mcp_bridge.dualmode.instances import Pairing, find_instances
from isthmus_mcp_bridge.model import EndpointClaim, EndpointKey, Labels, Presence, ServiceKey, Side

SERVICE = ServiceKey("default", "greeter")


def claim(
    port: int,
    side: Side = Side.NATIVE,
    name: str = "",
    host: str = "10.0.0.1",
    labels: Labels = (),
    presence: Presence = Presence.UP,
) -> EndpointClaim:
    return EndpointClaim("dubbo", host, port, presence=presence, labels=labels, side=side, instance=name)


def find(*claims: EndpointClaim) -> list[Pairing]:
    found: dict[EndpointKey, list[EndpointClaim]] = {}
    for one in claims:
        found.setdefault(EndpointKey("", one.address, one.port, "TCP"), []).append(one)
    return find_instances(SERVICE, found, DEFAULT_RULES)


def seen(pairings: list[Pairing]) -> list[tuple[str, str, str]]:
    return [(one.instance.id, str(one.instance.native), str(one.instance.mesh)) for one in pairings]


def test_by_name() -> None:
    assert seen(
        find(
            claim(1, name="a"),
            claim(2, name="b"),
            claim(11, Side.MESH, name="a"),
            claim(12, Side.MESH, name="b"),
        )
    ) == [("a", "10.0.0.1:1", "10.0.0.1:11"), ("b", "10.0.0.1:2", "10.0.0.1:12")]


def test_by_host_where_one_has_no_name() -> None:
    assert seen(find(claim(1), claim(11, Side.MESH, name="a"))) == [("a", "10.0.0.1:1", "10.0.0.1:11")]
    assert seen(find(claim(1), claim(11, Side.MESH))) == [("10.0.0.1:1", "10.0.0.1:1", "10.0.0.1:11")]


def test_a_claim_of_a_legacy_registry_gets_the_name_that_the_registration_gives_the_same_address() -> None:
    legacy, registered = claim(1), claim(1, name="a")
    assert seen(find(legacy, registered, claim(11, Side.MESH, name="a"), claim(2))) == [
        ("10.0.0.1:2", "10.0.0.1:2", "None"),
        ("a", "10.0.0.1:1", "10.0.0.1:11"),
    ]


def test_nothing_is_guessed_where_several_share_a_host() -> None:
    assert [(native, mesh) for _, native, mesh in seen(find(claim(1), claim(2), claim(11, Side.MESH)))] == [
        ("10.0.0.1:1", "None"),
        ("None", "10.0.0.1:11"),
        ("10.0.0.1:2", "None"),
    ]


def test_different_names_and_different_hosts_are_different_instances() -> None:
    assert len(find(claim(1, name="a"), claim(11, Side.MESH, name="b"))) == 2
    assert len(find(claim(1), claim(11, Side.MESH, host="10.0.0.2"))) == 2


def test_a_name_that_several_have_is_made_different() -> None:
    assert [one for one, _, _ in seen(find(claim(1, name="a"), claim(2, name="a")))] == ["a", "a@10.0.0.1:2"]


def test_labels_and_health_of_both_addresses() -> None:
    native = claim(1, labels=(("app", "shop"), ("zone", "a")), presence=Presence.UNHEALTHY)
    (found,) = find(native, claim(11, Side.MESH, labels=(("rack", "1"), ("zone", "b"))))
    assert found.instance.labels == (("app", "shop"), ("rack", "1"), ("zone", "a"))
    assert (found.instance.application, found.instance.native_up, found.instance.mesh_up) == ("shop", False, True)


claims = st.builds(
    claim,
    port=st.integers(1, 4),
    side=st.sampled_from(Side),
    name=st.sampled_from(["", "a", "b"]),
    host=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
)


@given(st.lists(claims, max_size=8), st.randoms())
def test_every_endpoint_is_of_one_instance_and_ids_differ_in_whatever_order(
    found: list[EndpointClaim], any_: object
) -> None:
    pairings = find(*found)
    endpoints = [key for one in pairings for key in one.endpoints]
    assert sorted(endpoints) == sorted({EndpointKey("", one.address, one.port, "TCP") for one in found})
    assert len({one.instance.id for one in pairings}) == len(pairings)
    keyed = sorted(found, key=lambda one: (one.address, one.port))
    assert find(*keyed) == pairings
