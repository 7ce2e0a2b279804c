"""Virtual hosts over delta streams: aliases, hosts that nobody has, and what route configurations do to them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.message import Message

from isthmus_controlplane.snapshot.resource import Aliased
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ROUTE, RUNTIME, VIRTUAL_HOST
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.testing import Conversation, cluster, names_in, route


def host(name: str, *domains: str, target: str = "a") -> Message:
    made = VirtualHost(name=name, domains=[name.partition("/")[2], *domains])
    added = made.routes.add()
    added.match.prefix = "/"
    added.route.cluster = target
    result: Message = made
    return result


def aliased(name: str, *aliases: str, target: str = "a") -> Aliased:
    return Aliased(host(name, *(each.partition("/")[2] for each in aliases), target=target), aliases)


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Variant.DELTA)


def one(responses: list[Any]) -> Any:
    assert len(responses) == 1, responses
    return responses[0]


def test_a_first_request_without_names_is_answered_by_nothing(talk: Conversation) -> None:
    talk.publish(aliased("80/a"))
    response = one(talk.delta(VIRTUAL_HOST))
    assert (names_in(response), list(response.removed_resources)) == ([], [])
    assert talk.ack(response) == []


def test_route_configurations_hear_of_themselves_so_that_they_need_not_wait(talk: Conversation) -> None:
    talk.publish(route("80"), route("81"))
    talk.ack(one(talk.delta(ROUTE, ["80"])))
    first = one(talk.delta(VIRTUAL_HOST))
    assert [(each.name, each.HasField("resource")) for each in first.resources] == [("80/*", False)]
    talk.ack(first)
    routes, second = talk.delta(ROUTE, ["81"])
    assert (names_in(routes), names_in(second)) == (["81"], ["81/*"])
    talk.ack(routes)
    talk.ack(second)
    assert talk.publish(route("80"), route("81"), aliased("80/a")) == []


def test_any_alias_finds_the_host_and_says_all_of_them(talk: Conversation) -> None:
    talk.publish(aliased("80/a", "80/a:80"))
    response = one(talk.delta(VIRTUAL_HOST, ["80/a:80"]))
    (resource,) = response.resources
    assert (resource.name, list(resource.aliases)) == ("80/a:80", ["80/a", "80/a:80"])
    found = VirtualHost()
    assert resource.resource.Unpack(found)
    assert (found.name, list(found.domains)) == ("80/a", ["a", "a:80"])
    talk.ack(response)
    changed = one(talk.publish(aliased("80/a", "80/a:80", target="b")))
    assert names_in(changed) == ["80/a:80"]


def test_a_host_that_is_gone_is_removed_under_its_own_name_too(talk: Conversation) -> None:
    talk.publish(aliased("80/a", "80/a:80"))
    talk.ack(one(talk.delta(VIRTUAL_HOST, ["80/a:80"])))
    gone = one(talk.publish())
    assert (names_in(gone), list(gone.removed_resources)) == ([], ["80/a:80", "80/a"])
    talk.ack(gone)
    assert names_in(one(talk.publish(aliased("80/a", "80/a:80")))) == ["80/a:80"]


def test_a_host_that_nobody_has_is_answered_without_content_and_sent_once_it_is_there(talk: Conversation) -> None:
    talk.publish()
    response = one(talk.delta(VIRTUAL_HOST, ["80/nobody"]))
    (resource,) = response.resources
    assert (resource.name, list(resource.aliases), resource.HasField("resource")) == ("80/nobody", ["80/nobody"], False)
    assert list(response.removed_resources) == []
    talk.ack(response)
    assert talk.publish(cluster("c")) == []
    created = one(talk.publish(cluster("c"), aliased("80/nobody")))
    assert created.resources[0].HasField("resource")


def test_a_changed_route_configuration_makes_its_hosts_go_out_again(talk: Conversation) -> None:
    talk.publish(route("80", "a"), route("81", "a"), aliased("80/a"), aliased("81/a"))
    for names in (["80"], ["81"]):
        talk.ack(one(talk.delta(ROUTE, names)))
    hosts = one(talk.delta(VIRTUAL_HOST, ["80/a", "81/a"]))
    assert names_in(hosts) == ["80/*", "80/a", "81/*", "81/a"]
    talk.ack(hosts)
    first, second = talk.publish(route("80", "b"), route("81", "a"), aliased("80/a"), aliased("81/a"))
    assert (first.type_url, names_in(first), names_in(second)) == (ROUTE, ["80"], ["80/*", "80/a"])


def test_a_cluster_stays_until_the_hosts_that_name_it_changed(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b"), aliased("80/h", target="a"))
    talk.ack(one(talk.delta(CLUSTER)))
    talk.ack(one(talk.delta(VIRTUAL_HOST, ["80/h", "80/nobody"])))
    moved = one(talk.publish(cluster("b"), aliased("80/h", target="b")))
    assert (moved.type_url, names_in(moved)) == (VIRTUAL_HOST, ["80/h"])
    removal = one(talk.ack(moved))
    assert (removal.type_url, list(removal.removed_resources)) == (CLUSTER, ["a"])


def test_an_unknown_layer_is_empty_on_sotw() -> None:
    talk = Conversation(Variant.SOTW)
    talk.publish()
    response = one(talk.sotw(RUNTIME, ["flags"]))
    found = Runtime()
    assert response.resources[0].Unpack(found)
    assert found == Runtime(name="flags")
