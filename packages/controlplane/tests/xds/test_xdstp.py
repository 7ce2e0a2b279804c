"""Names of xDS transport next: equality and glob collections."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT
from isthmus_controlplane.snapshot.xdstp import canonical, glob_of, is_glob
from isthmus_controlplane.xds.audience import Audience
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.subscription import Subscription
from isthmus_controlplane.xds.testing import Conversation, cluster, endpoints, names_in, snapshot_of

PLACE = "xdstp://mesh/envoy.config.cluster.v3.Cluster/shop"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("outbound|80||a?b=1&a=2", "outbound|80||a?b=1&a=2"),
        (f"{PLACE}/a", f"{PLACE}/a"),
        (f"{PLACE}/a?b=1&a=2", f"{PLACE}/a?a=2&b=1"),
        (f"{PLACE}/a?b=1&a=2#alt=x", f"{PLACE}/a?a=2&b=1#alt=x"),
        (f"{PLACE}/a?", f"{PLACE}/a"),
    ],
)
def test_equal_names_are_equal_texts(name: str, wanted: str) -> None:
    assert canonical(name) == wanted
    assert canonical(wanted) == wanted


@pytest.mark.parametrize(
    ("name", "glob"),
    [
        (f"{PLACE}/a", f"{PLACE}/*"),
        (f"{PLACE}/a?x=1", f"{PLACE}/*?x=1"),
        (f"{PLACE}/deep/a", f"{PLACE}/deep/*"),
        ("xdstp:///T/a", "xdstp:///T/*"),
        (f"{PLACE}/*", ""),
        ("xdstp://mesh/T", ""),
        ("xdstp://mesh", ""),
        ("a/b/c", ""),
    ],
)
def test_a_resource_is_in_the_collection_of_its_place(name: str, glob: str) -> None:
    assert glob_of(name) == glob
    assert is_glob(glob) is bool(glob)


@given(st.text(max_size=40))
def test_any_text_is_a_name(text: str) -> None:
    for name in (text, f"xdstp://{text}"):
        assert canonical(canonical(name)) == canonical(name)
        assert not glob_of(name) or is_glob(glob_of(name))


def one(responses: list[Any]) -> Any:
    assert len(responses) == 1, responses
    return responses[0]


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Variant.DELTA)


def test_a_collection_is_sent_and_followed(talk: Conversation) -> None:
    talk.publish(cluster(f"{PLACE}/a"), cluster(f"{PLACE}/b"), cluster(f"{PLACE}/deep/c"), cluster("old"))
    response = one(talk.delta(CLUSTER, [f"{PLACE}/*"]))
    assert (names_in(response), list(response.removed_resources)) == ([f"{PLACE}/a", f"{PLACE}/b"], [])
    talk.ack(response)
    changed = one(talk.publish(cluster(f"{PLACE}/b", 2), cluster(f"{PLACE}/new"), cluster("old", 2)))
    assert (names_in(changed), list(changed.removed_resources)) == ([f"{PLACE}/b", f"{PLACE}/new"], [f"{PLACE}/a"])
    talk.ack(changed)
    again = one(talk.delta(CLUSTER, [f"{PLACE}/*"]))
    assert names_in(again) == [f"{PLACE}/b", f"{PLACE}/new"]
    talk.ack(again)
    assert talk.delta(CLUSTER, unsubscribe=[f"{PLACE}/*"]) == []
    assert talk.publish(cluster(f"{PLACE}/b", 3)) == []


def test_an_empty_collection_is_answered_and_filled_later(talk: Conversation) -> None:
    talk.publish(cluster("old"))
    response = one(talk.delta(CLUSTER, [f"{PLACE}/*"]))
    assert (names_in(response), list(response.removed_resources)) == ([], [f"{PLACE}/*"])
    talk.ack(response)
    assert names_in(one(talk.publish(cluster(f"{PLACE}/a")))) == [f"{PLACE}/a"]


def test_a_reconnecting_client_names_what_it_has_of_a_collection(talk: Conversation) -> None:
    snapshot = snapshot_of(cluster(f"{PLACE}/a"), cluster(f"{PLACE}/b"))
    known = {name: each.version for name, each in snapshot.collection(CLUSTER).resources.items()}
    talk.publish_snapshot(snapshot)
    known[f"{PLACE}/gone"] = "1"
    known[f"{PLACE}/b"] = "older"
    response = one(talk.delta(CLUSTER, [f"{PLACE}/*"], initial=known))
    assert (names_in(response), list(response.removed_resources)) == ([f"{PLACE}/b"], [f"{PLACE}/gone"])


@pytest.mark.parametrize("variant", list(Variant))
def test_the_order_of_parameters_does_not_matter(variant: Variant) -> None:
    name = "xdstp://mesh/envoy.config.endpoint.v3.ClusterLoadAssignment/a"
    for order in ("z=1&a=2", "a=2&z=1"):
        talk = Conversation(variant)
        talk.publish(endpoints(f"{name}?z=1&a=2", 1))
        ask = talk.sotw if variant is Variant.SOTW else talk.delta
        assert len(one(ask(ENDPOINT, [f"{name}?{order}"])).resources) == 1
        assert talk.session.watches[ENDPOINT].delivered.sent.keys() == {f"{name}?a=2&z=1"}


def test_who_subscribes_to_a_collection_hears_of_every_change() -> None:
    audience: Audience[str] = Audience()
    audience.members[1] = "glob"
    subscription = Subscription(legacy_wildcard=False)
    audience.note(1, CLUSTER, subscription.modify([f"{PLACE}/*"], []), subscription)
    old, new = snapshot_of(cluster("x")), snapshot_of(cluster("x"), cluster(f"{PLACE}/a"))
    assert audience.concerned(old, new) == ["glob"]
    audience.note(1, CLUSTER, subscription.modify([], [f"{PLACE}/*"]), subscription)
    assert audience.concerned(old, new) == []
