"""The SotW rules of the xDS protocol, one test each, over the pure session."""

from typing import Any

import pytest

from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_PREFIX
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.session import Limits
from isthmus_controlplane.xds.testing import Conversation, cluster, endpoints, listener, names_in, route


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Variant.SOTW)


def one(responses: list[Any]) -> Any:
    assert len(responses) == 1, responses
    return responses[0]


def test_rejected_version_is_not_sent_again_before_it_changes(talk: Conversation) -> None:
    talk.publish(cluster("a"))
    first = one(talk.sotw(CLUSTER))
    assert talk.nack(first, "bad cluster a") == []
    assert talk.publish(cluster("a")) == []
    second = one(talk.publish(cluster("a", revision=2)))
    assert second.version_info != first.version_info


def test_rejection_is_kept_with_the_resource_it_names(talk: Conversation) -> None:
    talk.publish(cluster("alpha"), cluster("beta"))
    talk.nack(one(talk.sotw(CLUSTER)), "Error adding cluster beta: no such thing")
    (status,) = talk.session.type_statuses()
    assert status.nack is not None
    assert status.nack.resources == ("beta",)
    assert status.version_acked == ""
    assert not status.synced


def test_names_on_a_rejection_count(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 2))
    first = one(talk.sotw(ENDPOINT, ["a"]))
    assert names_in(one(talk.nack(first, "no", ["a", "b"]))) == ["b"]


def test_new_name_on_a_stale_nonce_is_not_lost(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 2))
    old = one(talk.sotw(ENDPOINT, ["a"]))
    talk.ack(old, ["a"])
    talk.publish(endpoints("a", 3), endpoints("b", 2))
    assert names_in(one(talk.ack(old, ["a", "b"]))) == ["b"]


def test_stale_nonce_does_not_count_as_an_answer(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    old = one(talk.sotw(ENDPOINT, ["a"]))
    talk.ack(old, ["a"])
    one(talk.publish(endpoints("a", 2)))
    assert talk.ack(old, ["a"]) == []
    (status,) = talk.session.type_statuses()
    assert status.version_acked != status.version_sent


def test_name_that_was_dropped_and_taken_again_is_sent_again(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 2))
    first = one(talk.sotw(ENDPOINT, ["a", "b"]))
    assert talk.ack(first, ["b"]) == []
    assert names_in(one(talk.sotw(ENDPOINT, ["a", "b"], nonce=first.nonce))) == ["a"]


def test_added_name_is_answered_at_an_unchanged_version(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1), endpoints("b", 2))
    first = one(talk.sotw(ENDPOINT, ["a"]))
    second = one(talk.ack(first, ["a", "b"]))
    assert names_in(second) == ["b"]
    assert second.version_info == first.version_info


def test_first_request_with_a_nonce_of_an_older_stream_is_answered(talk: Conversation) -> None:
    talk.publish(cluster("a"), endpoints("a", 1))
    assert names_in(one(talk.sotw(CLUSTER, nonce="17", version="old"))) == ["a"]
    assert names_in(one(talk.sotw(ENDPOINT, ["a"], nonce="18", version="old"))) == ["a"]


def test_request_without_type_url_ends_an_aggregated_stream(talk: Conversation) -> None:
    with pytest.raises(StreamError, match="type_url") as caught:
        talk.sotw("")
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(("type_url", "make"), [(CLUSTER, cluster), (LISTENER, lambda n, r=1: listener(n, "r", r))])
def test_full_state_types_are_sent_whole(talk: Conversation, type_url: str, make: Any) -> None:
    talk.publish(make("a"), make("b"), make("c"))
    talk.ack(one(talk.sotw(type_url, ["a", "b"])), ["a", "b"])
    assert names_in(one(talk.publish(make("a"), make("b", 2), make("c")))) == ["a", "b"]


@pytest.mark.parametrize(("type_url", "make"), [(ENDPOINT, endpoints), (ROUTE, lambda n, c: route(n, str(c)))])
def test_other_types_send_only_what_changed_and_no_deletions(talk: Conversation, type_url: str, make: Any) -> None:
    talk.publish(make("a", 1), make("b", 1))
    talk.ack(one(talk.sotw(type_url, ["a", "b"])), ["a", "b"])
    changed = one(talk.publish(make("a", 1), make("b", 2)))
    assert names_in(changed) == ["b"]
    talk.ack(changed, ["a", "b"])
    assert talk.publish(make("b", 2)) == []
    assert talk.publish(make("a", 1), make("b", 2)) == []
    assert names_in(one(talk.publish(make("a", 2), make("b", 2)))) == ["a"]


@pytest.mark.parametrize(("type_url", "make"), [(CLUSTER, cluster), (LISTENER, lambda n: listener(n, "r"))])
def test_deleting_all_is_an_empty_response(talk: Conversation, type_url: str, make: Any) -> None:
    talk.publish(make("a"))
    talk.ack(one(talk.sotw(type_url)))
    assert names_in(one(talk.publish())) == []


def test_first_wildcard_request_is_answered_even_if_there_is_nothing(talk: Conversation) -> None:
    talk.publish()
    empty = one(talk.sotw(CLUSTER))
    assert names_in(empty) == []
    assert talk.ack(empty) == []


def test_legacy_wildcard_ends_with_the_first_name(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b"))
    everything = one(talk.sotw(CLUSTER))
    assert names_in(everything) == ["a", "b"]
    only_a = one(talk.ack(everything, ["a"]))
    assert names_in(only_a) == ["a"]
    assert talk.ack(only_a, []) == []
    assert talk.publish(cluster("a", 2), cluster("b", 2)) == []


def test_explicit_wildcard_mixes_with_names(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b"))
    everything = one(talk.sotw(CLUSTER, ["*"]))
    assert names_in(everything) == ["a", "b"]
    mixed = one(talk.ack(everything, ["*", "a"]))
    assert names_in(mixed) == ["a", "b"]
    assert talk.ack(mixed, ["a"]) == []
    assert names_in(one(talk.publish(cluster("a", 2), cluster("b", 2)))) == ["a"]


def test_grpc_clients_do_not_mean_everything_by_nothing() -> None:
    talk = Conversation(Variant.SOTW, user_agent="gRPC C-core linux")
    talk.publish(cluster("a"), cluster("b"))
    assert talk.sotw(CLUSTER) == []
    everything = one(talk.sotw(CLUSTER, ["*"]))
    assert names_in(everything) == ["a", "b"]
    mixed = one(talk.ack(everything, ["*", "a"]))
    assert talk.ack(mixed, ["a"]) == []
    assert talk.sotw(CLUSTER, []) == []
    assert talk.publish(cluster("a", 2)) == []


@pytest.mark.parametrize(("type_url", "make"), [(ENDPOINT, endpoints), (ROUTE, lambda n, c: route(n, str(c)))])
def test_unknown_name_gets_an_empty_answer_once_and_the_real_one_later(
    talk: Conversation, type_url: str, make: Any
) -> None:
    talk.publish()
    empty = one(talk.sotw(type_url, ["x"]))
    assert names_in(empty) == ["x"]
    assert talk.ack(empty, ["x"]) == []
    assert talk.publish(make("other", 1)) == []
    assert names_in(one(talk.publish(make("x", 1)))) == ["x"]


def test_unknown_cluster_name_is_answered_once(talk: Conversation) -> None:
    talk.publish(cluster("a"))
    first = one(talk.sotw(CLUSTER, ["a", "x"]))
    assert names_in(first) == ["a"]
    assert talk.ack(first, ["a", "x"]) == []
    assert names_in(one(talk.publish(cluster("a"), cluster("x")))) == ["a", "x"]


def test_changed_cluster_gets_its_endpoints_again(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("b", eds="beta"), endpoints("a", 1), endpoints("beta", 2))
    clusters = one(talk.sotw(CLUSTER))
    load = one(talk.sotw(ENDPOINT, ["a", "beta"]))
    talk.ack(clusters)
    talk.ack(load, ["a", "beta"])
    again = talk.publish(cluster("a"), cluster("b", 2, eds="beta"), endpoints("a", 1), endpoints("beta", 2))
    assert [r.type_url for r in again] == [CLUSTER, ENDPOINT]
    assert names_in(again[1]) == ["beta"]


def test_one_change_of_everything_comes_in_order(talk: Conversation) -> None:
    talk.publish()
    talk.ack(one(talk.sotw(CLUSTER)))
    talk.ack(one(talk.sotw(LISTENER)))
    talk.ack(one(talk.sotw(ENDPOINT, ["a"])), ["a"])
    talk.ack(one(talk.sotw(ROUTE, ["r"])), ["r"])
    sent = talk.publish(listener("l", "r"), route("r", "a"), endpoints("a", 1), cluster("a"))
    assert [r.type_url for r in sent] == [CLUSTER, ENDPOINT]
    rest = talk.ack(sent[0])
    assert [r.type_url for r in rest] == [LISTENER, ROUTE]


def test_routes_wait_for_clusters_only_so_long(talk: Conversation) -> None:
    talk.publish(cluster("a"), route("r", "a"))
    talk.ack(one(talk.sotw(CLUSTER)))
    talk.ack(one(talk.sotw(ROUTE, ["r"])), ["r"])
    sent = talk.publish(cluster("a"), cluster("b"), route("r", "b"))
    assert [r.type_url for r in sent] == [CLUSTER]
    deadline = talk.session.next_deadline()
    assert deadline is not None
    talk.now = deadline - 0.001
    assert talk.flush() == []
    talk.now = deadline
    assert [r.type_url for r in talk.flush()] == [ROUTE]
    assert talk.session.next_deadline() is None


def test_answers_to_subscriptions_do_not_wait_for_clusters(talk: Conversation) -> None:
    talk.publish(cluster("a"), route("r", "a"))
    one(talk.sotw(CLUSTER))
    assert names_in(one(talk.sotw(ROUTE, ["r"]))) == ["r"]


def test_rejected_clusters_do_not_hold_routes_back(talk: Conversation) -> None:
    talk.publish(cluster("a"), route("r", "a"))
    talk.ack(one(talk.sotw(CLUSTER)))
    talk.ack(one(talk.sotw(ROUTE, ["r"])), ["r"])
    (clusters,) = talk.publish(cluster("a", 2), route("r", "a", "b"))
    assert [r.type_url for r in talk.nack(clusters, "no")] == [ROUTE]


def test_removed_cluster_stays_until_the_route_that_left_it_is_acknowledged(talk: Conversation) -> None:
    talk.publish(cluster("a"), route("r", "a"))
    talk.ack(one(talk.sotw(CLUSTER)))
    talk.ack(one(talk.sotw(ROUTE, ["r"])), ["r"])
    (clusters,) = talk.publish(cluster("b"), route("r", "b"))
    assert sorted(names_in(clusters)) == ["a", "b"]
    (routes,) = talk.ack(clusters)
    last = one(talk.ack(routes, ["r"]))
    assert (last.type_url, names_in(last)) == (CLUSTER, ["b"])
    assert last.version_info != clusters.version_info


def test_removed_cluster_that_no_route_left_goes_at_once(talk: Conversation) -> None:
    talk.publish(cluster("a"), cluster("ab"), route("r", "ab"))
    talk.ack(one(talk.sotw(CLUSTER)))
    talk.ack(one(talk.sotw(ROUTE, ["r"])), ["r"])
    (clusters,) = talk.publish(cluster("ab"), route("r", "ab", "ab"))
    assert names_in(clusters) == ["ab"]


@pytest.mark.parametrize("features", [[], ["xds.config.resource-in-sotw"]])
def test_resources_are_never_wrapped(talk: Conversation, features: list[str]) -> None:
    """No resource has a TTL, so the wrapper has nothing to say, whatever the client could read."""
    talk.publish(cluster("a"))
    response = one(talk.sotw(CLUSTER))
    assert features is not None
    assert [body.type_url for body in response.resources] == [CLUSTER]


def test_newest_version_wins_while_one_is_unanswered(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    first = one(talk.sotw(ENDPOINT, ["a"]))
    for port in range(2, 50):
        assert talk.publish(endpoints("a", port)) == []
    newest = one(talk.ack(first, ["a"]))
    assert newest.resources[0].value == endpoints("a", 49).SerializeToString()


def test_nothing_is_sent_before_there_is_a_snapshot(talk: Conversation) -> None:
    assert talk.sotw(CLUSTER) == []
    assert names_in(one(talk.publish(cluster("a")))) == ["a"]


def test_client_that_dropped_everything_without_answering_can_come_back(talk: Conversation) -> None:
    talk.publish(endpoints("a", 1))
    first = one(talk.sotw(ENDPOINT, ["a"]))
    assert talk.sotw(ENDPOINT, []) == []
    for _ in range(20):
        assert names_in(one(talk.sotw(ENDPOINT, ["a"], nonce=first.nonce))) == ["a"]
        assert talk.sotw(ENDPOINT, [], nonce=first.nonce) == []


def test_unknown_types_are_served_when_there_are_any(talk: Conversation) -> None:
    talk.publish()
    assert talk.sotw(TYPE_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret", ["default"]) == []


def test_types_on_one_stream_are_bounded() -> None:
    talk = Conversation(Variant.SOTW, limits=Limits(types=2))
    talk.sotw("one")
    talk.sotw("two")
    with pytest.raises(StreamError) as caught:
        talk.sotw("three")
    assert caught.value.code == "RESOURCE_EXHAUSTED"


def test_names_on_one_stream_are_bounded() -> None:
    talk = Conversation(Variant.SOTW, limits=Limits(names=2))
    talk.sotw(ENDPOINT, ["a", "b"])
    with pytest.raises(StreamError) as caught:
        talk.sotw(ENDPOINT, ["a", "b", "c"])
    assert caught.value.code == "RESOURCE_EXHAUSTED"
