"""Resources with a time to live: the wrapper on SotW, and heartbeats that say that they are still there."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import Resource

from isthmus_controlplane.snapshot.resource import Timed
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.testing import Conversation, cluster, endpoints, names_in

FEATURE = "xds.config.resource-in-sotw"


def one(responses: list[Any]) -> Any:
    assert len(responses) == 1, responses
    return responses[0]


def unwrapped(response: Any) -> list[Resource]:
    return [Resource.FromString(body.value) for body in response.resources if body.Is(Resource.DESCRIPTOR)]


@pytest.mark.parametrize("feature", [FEATURE, "xds.config.supports-resource-in-sotw"])
def test_sotw_clients_that_say_so_get_the_wrapper_where_there_is_a_time_to_live(feature: str) -> None:
    talk = Conversation(Variant.SOTW, features=[feature])
    talk.publish(Timed(cluster("a"), ttl=10), cluster("b"))
    response = one(talk.sotw(CLUSTER))
    (resource,) = unwrapped(response)
    assert (resource.name, resource.ttl.seconds) == ("a", 10)
    assert resource.resource.type_url == CLUSTER
    assert response.resources[1].type_url == CLUSTER


def test_other_sotw_clients_get_neither_wrapper_nor_heartbeat() -> None:
    talk = Conversation(Variant.SOTW)
    talk.publish(Timed(cluster("a"), ttl=10))
    response = one(talk.sotw(CLUSTER))
    assert response.resources[0].type_url == CLUSTER
    talk.ack(response)
    assert talk.session.next_deadline() is None


def test_a_heartbeat_has_the_version_and_no_resource() -> None:
    talk = Conversation(Variant.DELTA)
    talk.publish(Timed(endpoints("a", 1), ttl=10), endpoints("b", 1))
    first = one(talk.delta(ENDPOINT, ["a", "b"]))
    assert talk.session.next_deadline() is None, "an answer is waited for"
    talk.ack(first)
    assert talk.session.next_deadline() == 5.0
    talk.now = 4.9
    assert talk.flush() == []
    talk.now = 5.0
    beat = one(talk.flush())
    assert names_in(beat) == ["a"]
    (resource,) = beat.resources
    assert not resource.HasField("resource")
    assert (resource.version, resource.ttl.seconds) == (first.resources[0].version, 10)
    assert beat.system_version_info == first.system_version_info
    assert beat.nonce != first.nonce
    talk.now = 30.0
    assert talk.flush() == [], "one unanswered response per type"
    assert names_in(one(talk.ack(beat))) == ["a"]


def test_a_wrapped_heartbeat_on_sotw() -> None:
    talk = Conversation(Variant.SOTW, features=[FEATURE])
    talk.publish(Timed(endpoints("a", 1), ttl=2), endpoints("b", 1))
    talk.ack(one(talk.sotw(ENDPOINT, ["a", "b"])), ["a", "b"])
    talk.now = 1.0
    (resource,) = unwrapped(one(talk.flush()))
    assert (resource.name, resource.HasField("resource"), resource.ttl.seconds) == ("a", False, 2)


def test_what_lost_its_time_to_live_beats_no_more_and_another_one_is_told() -> None:
    talk = Conversation(Variant.DELTA)
    talk.publish(Timed(cluster("a"), ttl=10))
    talk.ack(one(talk.delta(CLUSTER)))
    changed = one(talk.publish(Timed(cluster("a"), ttl=4)))
    assert changed.resources[0].ttl.seconds == 4
    talk.ack(changed)
    assert talk.session.next_deadline() == 2.0
    last = one(talk.publish(cluster("a")))
    assert not last.resources[0].HasField("ttl")
    talk.ack(last)
    assert talk.session.next_deadline() is None


def test_a_time_to_live_is_positive() -> None:
    with pytest.raises(ValueError, match="ttl 0"):
        Timed(cluster("a"), ttl=0)
