"""Snapshots share what did not change, and their versions say what did."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.snapshot.resource import ResourcePool, varint
from isthmus_controlplane.snapshot.resource_type import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    resource_type,
    send_order,
)
from isthmus_controlplane.snapshot.snapshot import HISTORY_PUSHES, build
from isthmus_controlplane.xds.testing import cluster, endpoints, listener, route, snapshot_of

WORLD = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3))


def test_resource_holds_the_packed_message() -> None:
    message = cluster("a")
    (resource,) = snapshot_of(message).collection(CLUSTER).resources.values()
    body = AnyMessage.FromString(resource.body)
    assert (resource.name, body.type_url) == ("a", CLUSTER)
    assert Cluster.FromString(body.value) == message


def test_equal_content_has_equal_versions_whatever_the_order() -> None:
    one = snapshot_of(cluster("a"), cluster("b"), endpoints("a", 1))
    other = snapshot_of(endpoints("a", 1), cluster("b"), cluster("a"))
    assert one.version == other.version
    assert list(other.collection(CLUSTER).resources) == ["a", "b"]


def test_only_the_type_that_changed_gets_a_new_version() -> None:
    old = snapshot_of(cluster("a"), endpoints("a", 1))
    new = snapshot_of(cluster("a"), endpoints("a", 2), previous=old)
    assert new.version != old.version
    assert new.collection(CLUSTER) is old.collection(CLUSTER)
    assert new.collection(ENDPOINT).version != old.collection(ENDPOINT).version


def test_unchanged_resources_are_taken_from_the_previous_snapshot() -> None:
    kept = cluster("kept")
    old = build({CLUSTER: {"kept": kept, "changed": cluster("changed")}})
    new = build({CLUSTER: {"kept": kept, "changed": cluster("changed", 2)}}, old)
    before, after = old.collection(CLUSTER).resources, new.collection(CLUSTER).resources
    assert after["kept"] is before["kept"]
    assert after["changed"] is not before["changed"]


def test_equal_content_is_shared_between_scopes() -> None:
    pool = ResourcePool()
    one, other = (build({CLUSTER: {"a": cluster("a")}}, pool=pool) for _ in range(2))
    assert one.collection(CLUSTER).resources["a"] is other.collection(CLUSTER).resources["a"]


def test_what_scopes_share_is_serialised_once_a_publication() -> None:
    pool, shared = ResourcePool(), cluster("a")
    one, other = (build({CLUSTER: {"a": shared}}, pool=pool) for _ in range(2))
    assert one.collection(CLUSTER).resources["a"] is other.collection(CLUSTER).resources["a"]
    assert pool.serialisations == 1


def test_pool_forgets_what_nobody_uses() -> None:
    pool = ResourcePool()
    snapshot = build({CLUSTER: {"a": cluster("a")}}, pool=pool)
    assert len(pool) == 1
    del snapshot
    pool.forget_messages()
    gc.collect()
    assert len(pool) == 0


@given(WORLD, WORLD)
def test_changed_names_are_the_difference(old: dict[str, int], new: dict[str, int]) -> None:
    first = build({CLUSTER: {n: cluster(n, r) for n, r in old.items()}})
    second = build({CLUSTER: {n: cluster(n, r) for n, r in new.items()}}, first)
    collection = second.collection(CLUSTER)
    if old == new:
        assert collection is first.collection(CLUSTER)
        return
    changed = frozenset(n for n in {*old, *new} if old.get(n) != new.get(n))
    assert collection.changed_since(first.collection(CLUSTER).version) == changed
    # Whatever way led there, equal content has equal versions and stands in the same order.
    scratch = build({CLUSTER: {n: cluster(n, r) for n, r in new.items()}})
    assert second.version == scratch.version
    assert collection.version == scratch.collection(CLUSTER).version
    assert list(collection.resources) == list(scratch.collection(CLUSTER).resources)
    hinted = build({CLUSTER: {n: cluster(n, r) for n, r in new.items()}}, first, changed={CLUSTER: {*old, *new}})
    assert hinted.version == second.version


def test_a_collection_knows_what_changed_over_several_steps_but_not_for_ever() -> None:
    steps = [snapshot_of(cluster("a", 1), cluster("b", 1), cluster("c", 1))]
    for number in range(2, 2 + HISTORY_PUSHES + 3):
        steps.append(
            snapshot_of(cluster("a", number), cluster("b", 1 + number // 3), cluster("c", 1), previous=steps[-1])
        )
    newest = steps[-1].collection(CLUSTER)
    versions = [each.collection(CLUSTER).version for each in steps]
    assert newest.changed_since(versions[-1]) == frozenset()
    assert newest.changed_since(versions[-2]) in (frozenset("a"), frozenset("ab"))
    assert newest.changed_since(versions[-5]) == frozenset("ab")
    assert newest.changed_since(versions[0]) is None
    assert newest.changed_since("unheard of") is None


def test_type_without_resources_left_says_what_is_gone() -> None:
    old = snapshot_of(cluster("a"))
    new = snapshot_of(previous=old)
    assert new.collection(CLUSTER).changed_since(old.collection(CLUSTER).version) == frozenset({"a"})
    assert new.collection(CLUSTER).version == snapshot_of().collection(CLUSTER).version


def with_filters(*configs: Message) -> Message:
    """Make a listener whose only chain has these network filters."""
    filters = []
    for config in configs:
        packed = Filter()
        packed.typed_config.Pack(config)
        filters.append(packed)
    message: Message = Listener(name="l", default_filter_chain=FilterChain(filters=filters))
    return message


def api_listener(route_name: str) -> Message:
    manager = HttpConnectionManager()
    manager.rds.route_config_name = route_name
    message = Listener(name="service:80", api_listener=ApiListener())
    message.api_listener.api_listener.Pack(manager)
    result: Message = message
    return result


def references(message: Message, type_url: str) -> tuple[str, ...]:
    (resource,) = snapshot_of(message).collection(type_url).resources.values()
    return resource.references


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (cluster("a"), ("a",)),
        (cluster("a", eds="b"), ("b",)),
        (Cluster(name="a", type=Cluster.STRICT_DNS), ()),
    ],
)
def test_clusters_name_their_endpoints(message: Any, expected: tuple[str, ...]) -> None:
    assert references(message, CLUSTER) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (listener("l", "r"), ("r",)),
        (api_listener("r"), ("r",)),
        (with_filters(HttpConnectionManager(), TcpProxy(cluster="a")), ()),
    ],
)
def test_listeners_name_their_routes(message: Any, expected: tuple[str, ...]) -> None:
    assert references(message, LISTENER) == expected


def test_missing_references_are_named() -> None:
    snapshot = snapshot_of(cluster("a"), cluster("b"), endpoints("b", 1), listener("l", "r"))
    assert snapshot.missing_references() == ((ENDPOINT, "a", "a"), (ROUTE, "r", "l"))
    whole = snapshot_of(cluster("a"), endpoints("a", 1), listener("l", "r"), route("r"))
    assert whole.missing_references() == ()


def test_resource_mentions_whole_names_however_deep() -> None:
    (resource,) = snapshot_of(with_filters(TcpProxy(cluster="outbound|80||ab"))).collection(LISTENER).resources.values()
    assert resource.mentions("outbound|80||ab")
    assert not resource.mentions("outbound|80||a")
    assert not resource.mentions("80||ab")


@given(st.integers(0, 2**63))
def test_varint_is_protobufs(value: int) -> None:
    decoded = 0
    for position, byte in enumerate(varint(value)):
        decoded |= (byte & 0x7F) << (7 * position)
        assert bool(byte & 0x80) == (position < len(varint(value)) - 1)
    assert decoded == value


def test_types_are_sent_in_ads_order_with_unknown_ones_last() -> None:
    shuffled = ["x.Unknown", EXTENSION_CONFIG, ROUTE, LISTENER, ENDPOINT, CLUSTER]
    assert sorted(shuffled, key=send_order) == [CLUSTER, ENDPOINT, LISTENER, ROUTE, EXTENSION_CONFIG, "x.Unknown"]
    assert not resource_type("x.Unknown").full_state
