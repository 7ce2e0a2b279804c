"""The delta rules of the xDS protocol, one test each, over the pure session."""

import os
import subprocess
import sys
from typing import Any

import pytest

from isthmus_controlplane.snapshot.resource import content_version
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from isthmus_controlplane.snapshot.snapshot import build
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.session import Limits
from isthmus_controlplane.xds.testing import (
    Conversation,
    cluster,
    endpoints,
    listener,
    names_in,
    route,
    snapshot_of,
)


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Variant.DELTA)


def one(responses: list[Any]) -> Any:
    assert len(responses) == 1, responses
    return responses[0]


def versions(talk: Conversation, type_url: str) -> dict[str, str]:
    assert talk.session.snapshot is not None
    return {n: r.version for n, r in talk.session.snapshot.collection(type_url).resources.items()}


def test_initial_versions_same_different_and_unknown(talk: Conversation) -> None:
    talk.publish(cluster("same"), cluster("changed"))
    initial = {"same": versions(talk, CLUSTER)["same"], "changed": "old", "unknown": "v"}
    response = one(talk.delta(CLUSTER, initial=initial))
    assert names_in(response) == ["changed"]
    assert list(response.removed_resources) == ["unknown"]


def test_reconnecting_client_that_has_everything_hears_nothing(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    assert talk.delta(ENDPOINT, ["a"], initial=versions(talk, ENDPOINT)) == []
    assert names_in(one(talk.publish(endpoints("a", 2)))) == ["a"]


def test_initial_versions_are_no_subscriptions(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 1))
    assert names_in(one(talk.delta(ENDPOINT, ["a"], initial={"b": "old"}))) == ["a"]


def test_versions_are_the_same_in_another_process(talk: Conversation) -> None:
    """A client that reconnects to another replica hears nothing new."""
    program = (
        "from isthmus_controlplane.xds.testing import *\n"
        "from isthmus_controlplane.snapshot.resource_type import *\n"
        "snapshot = snapshot_of(cluster('b'), cluster('a'), listener('l', 'r'))\n"
        "print(snapshot.version, snapshot.collection(CLUSTER).resources['a'].version)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    other = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    here = snapshot_of(listener("l", "r"), cluster("a"), cluster("b"))
    assert other == [here.version, here.collection(CLUSTER).resources["a"].version]


def test_subscribing_to_a_name_again_sends_it_again(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    assert names_in(one(talk.delta(ENDPOINT, ["a"]))) == ["a"]


def test_absent_name_is_removed_and_sent_when_it_appears(talk: Conversation) -> None:
    talk.publish()
    absent = one(talk.delta(ENDPOINT, ["x"]))
    assert (names_in(absent), list(absent.removed_resources)) == ([], ["x"])
    assert talk.ack(absent) == []
    assert names_in(one(talk.publish(endpoints("x", 1)))) == ["x"]


def test_subscription_on_a_stale_nonce_is_honoured(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 1))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    assert names_in(one(talk.delta(ENDPOINT, ["b"], nonce="stale"))) == ["b"]


def test_superfluous_unsubscribe_is_ignored(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    assert talk.delta(ENDPOINT, unsubscribe=["never"]) == []
    assert names_in(one(talk.publish(endpoints("a", 2)))) == ["a"]


def test_unsubscribed_name_is_not_sent_any_more(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    assert talk.delta(ENDPOINT, unsubscribe=["a"]) == []
    assert talk.publish(endpoints("a", 2)) == []


def test_name_dropped_under_the_wildcard_is_answered(talk: Conversation) -> None:
    talk.publish(cluster("a"))
    talk.ack(one(talk.delta(CLUSTER)))
    talk.ack(one(talk.delta(CLUSTER, ["a", "x"])))
    response = one(talk.delta(CLUSTER, unsubscribe=["a", "x"]))
    assert names_in(response) == ["a"]
    assert list(response.removed_resources) == ["x"]


def test_legacy_wildcard_stays_when_a_name_is_added(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b"))
    talk.ack(one(talk.delta(CLUSTER)))
    talk.ack(one(talk.delta(CLUSTER, ["a"])))
    assert names_in(one(talk.publish(cluster("a"), cluster("b", 2)))) == ["b"]


def test_dropping_the_wildcard_keeps_names(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b"))
    talk.ack(one(talk.delta(CLUSTER, ["*", "a"])))
    assert talk.delta(CLUSTER, unsubscribe=["*"]) == []
    assert names_in(one(talk.publish(cluster("a", 2), cluster("b", 2)))) == ["a"]


def test_dropping_the_legacy_wildcard_ends_it(talk: Conversation) -> None:
    talk.publish(cluster("a"))
    talk.ack(one(talk.delta(CLUSTER)))
    assert talk.delta(CLUSTER, unsubscribe=["*"]) == []
    assert talk.publish(cluster("a", 2)) == []
    assert names_in(one(talk.delta(CLUSTER, ["*"]))) == ["a"]


def test_subscribing_and_dropping_the_wildcard_at_once_is_nothing(talk: Conversation) -> None:
    talk.publish(cluster("a"))
    assert talk.delta(CLUSTER, ["*"], ["*"]) == []
    assert talk.publish(cluster("a", 2)) == []
    assert talk.delta(CLUSTER) == []


def test_grpc_clients_do_not_mean_everything_by_nothing() -> None:
    talk = Conversation(Variant.DELTA, user_agent="gRPC Go")
    talk.publish(cluster("a"))
    assert talk.delta(CLUSTER) == []


def test_deleted_extension_configuration_is_never_removed(talk: Conversation) -> None:
    talk.publish_snapshot(build({EXTENSION_CONFIG: {"f": cluster("f")}}))
    assert names_in(one(talk.delta(EXTENSION_CONFIG, ["f"]))) == ["f"]
    assert talk.publish_snapshot(build({})) == []
    assert talk.delta(EXTENSION_CONFIG, ["x"]) == []


def test_two_subscriptions_before_any_acknowledgement_are_both_answered(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 1))
    first = one(talk.delta(ENDPOINT, ["a"]))
    second = one(talk.delta(ENDPOINT, ["b"]))
    assert (names_in(first), names_in(second)) == (["a"], ["b"])
    talk.ack(first)
    talk.ack(second)
    assert names_in(one(talk.publish(endpoints("a", 2), endpoints("b", 1)))) == ["a"]


def test_rejected_resource_counts_as_not_applied_and_its_next_change_is_sent(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 1))
    response = one(talk.delta(ENDPOINT, ["a", "b"]))
    assert talk.nack(response, "a: no") == []
    (status,) = talk.session.type_statuses()
    assert status.nack is not None
    assert status.nack.resources == ("a",)
    fixed = one(talk.publish(endpoints("a", 2), endpoints("b", 1)))
    assert names_in(fixed) == ["a"]
    talk.ack(fixed)
    (status,) = talk.session.type_statuses()
    assert status.nack is None
    assert status.synced


def test_going_back_after_a_rejection_is_sent(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    talk.nack(one(talk.publish(endpoints("a", 2))), "no")
    assert names_in(one(talk.publish(endpoints("a", 1)))) == ["a"]


def test_deleted_resources_are_removed(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b"))
    talk.ack(one(talk.delta(CLUSTER)))
    response = one(talk.publish(cluster("b")))
    assert (names_in(response), list(response.removed_resources)) == ([], ["a"])


def test_first_wildcard_request_is_answered_even_if_there_is_nothing(talk: Conversation) -> None:
    talk.publish()
    empty = one(talk.delta(CLUSTER))
    assert (names_in(empty), list(empty.removed_resources)) == ([], [])
    assert talk.ack(empty) == []


def test_removal_of_a_cluster_waits_for_the_route_that_leaves_it(talk: Conversation) -> None:
    talk.publish(cluster("a"), endpoints("a", 1), route("r", "a"))
    talk.ack(one(talk.delta(CLUSTER)))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    talk.ack(one(talk.delta(ROUTE, ["r"])))
    (added,) = talk.publish(cluster("b"), route("r", "b"))
    assert (names_in(added), list(added.removed_resources)) == (["b"], [])
    (routes,) = talk.ack(added)
    assert routes.type_url == ROUTE
    removals = talk.ack(routes)
    assert [(r.type_url, list(r.removed_resources)) for r in removals] == [(CLUSTER, ["a"])]
    (load,) = talk.ack(removals[0])
    assert (load.type_url, list(load.removed_resources)) == (ENDPOINT, ["a"])


def test_removal_of_a_cluster_waits_while_the_route_that_leaves_it_is_rejected(talk: Conversation) -> None:
    talk.publish(cluster("a"), route("r", "a"))
    talk.ack(one(talk.delta(CLUSTER)))
    talk.ack(one(talk.delta(ROUTE, ["r"])))
    (routes,) = talk.ack(one(talk.publish(cluster("b"), route("r", "b"))))
    assert talk.nack(routes, "no") == []
    (fixed,) = talk.publish(cluster("b"), route("r", "b", "b"))
    (removal,) = talk.ack(fixed)
    assert list(removal.removed_resources) == ["a"]


def test_removal_of_a_route_waits_for_the_listener_that_leaves_it(talk: Conversation) -> None:
    talk.publish(listener("l", "r1"), route("r1", "a"))
    talk.ack(one(talk.delta(LISTENER)))
    talk.ack(one(talk.delta(ROUTE, ["r1"])))
    (moved,) = talk.publish(listener("l", "r2"), route("r2", "a"))
    assert moved.type_url == LISTENER
    (removal,) = talk.ack(moved)
    assert list(removal.removed_resources) == ["r1"]


def test_changed_cluster_gets_its_endpoints_again(talk: Conversation) -> None:
    talk.publish(cluster("a"), endpoints("a", 1), endpoints("b", 1))
    talk.ack(one(talk.delta(CLUSTER)))
    talk.ack(one(talk.delta(ENDPOINT, ["a", "b"])))
    sent = talk.publish(cluster("a", 2), endpoints("a", 1), endpoints("b", 1))
    assert [(r.type_url, names_in(r)) for r in sent] == [(CLUSTER, ["a"]), (ENDPOINT, ["a"])]


def test_one_change_of_everything_comes_in_order(talk: Conversation) -> None:
    talk.publish()
    talk.ack(one(talk.delta(ROUTE, ["r"])))
    talk.ack(one(talk.delta(LISTENER)))
    talk.ack(one(talk.delta(ENDPOINT, ["a"])))
    talk.ack(one(talk.delta(CLUSTER)))
    sent = talk.publish(listener("l", "r"), route("r", "a"), endpoints("a", 1), cluster("a"))
    sent += talk.ack(sent[0])
    assert [r.type_url for r in sent] == [CLUSTER, ENDPOINT, LISTENER, ROUTE]


def test_big_answers_come_in_several_responses() -> None:
    talk = Conversation(Variant.DELTA, limits=Limits(response_bytes=200))
    talk.publish(*(cluster(f"cluster-{i:03}") for i in range(20)))
    seen = []
    responses = talk.delta(CLUSTER)
    while responses:
        response = one(responses)
        assert response.ByteSize() < 1000
        seen += names_in(response)
        responses = talk.ack(response)
    assert seen == [f"cluster-{i:03}" for i in range(20)]


def test_two_streams_of_one_node_do_not_share_state() -> None:
    first, second = Conversation(Variant.DELTA), Conversation(Variant.DELTA)
    snapshot = snapshot_of(endpoints("a", 1), endpoints("b", 1))
    first.publish_snapshot(snapshot)
    second.publish_snapshot(snapshot)
    assert names_in(one(first.delta(ENDPOINT, ["a"]))) == ["a"]
    assert names_in(one(second.delta(ENDPOINT, ["b"]))) == ["b"]


def test_dynamic_parameters_are_refused_by_name(talk: Conversation) -> None:
    from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

    request = DeltaDiscoveryRequest(type_url=CLUSTER)
    request.resource_locators_subscribe.add(name="x")
    with pytest.raises(StreamError, match="resource_locators_subscribe"):
        talk.receive(request)


def test_content_version_tells_parts_apart() -> None:
    assert content_version(b"ab", b"c") != content_version(b"a", b"bc")
