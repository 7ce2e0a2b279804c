"""What a source delivers: good resources count, bad ones are named and keep their last good copy."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.stores.base import ObjectKey
from isthmus_controlplane.stores.mcp_inventory import Inventory, Item, unpack

SOURCE = "xds://127.0.0.1:15020"


def packed(message: Message) -> AnyMessage:
    body = AnyMessage()
    body.Pack(message)
    return body


def service(name: str, *, version: str = "1", host: str = "reviews.shop", port: int = 8080) -> Item:
    resource = Resource(body=packed(ServiceEntry(hosts=[host], ports=[{"number": port, "name": "http"}])))  # type: ignore[list-item]
    resource.metadata.name = name
    resource.metadata.version = version
    return Item(name, version, packed(resource))


def key(name: str) -> ObjectKey:
    namespace, _, rest = name.partition("/")
    return ObjectKey("ServiceEntry", namespace, rest)


@pytest.fixture
def inventory() -> Inventory:
    return Inventory(SOURCE)


def test_resource_becomes_an_object(inventory: Inventory) -> None:
    item = service("shop/reviews")
    resource = Resource.FromString(item.body.value)
    resource.metadata.labels["app"] = "reviews"
    resource.metadata.annotations["registry"] = "zookeeper"
    resource.metadata.create_time.CopyFrom(Timestamp(seconds=7, nanos=500_000_000))
    assert inventory.apply([Item(item.name, item.version, packed(resource))], ()) is None
    value = inventory.objects()[key("shop/reviews")]
    assert isinstance(value.spec, ServiceEntry)
    assert list(value.spec.hosts) == ["reviews.shop"]
    assert (value.labels, value.annotations) == ({"app": "reviews"}, {"registry": "zookeeper"})
    assert (value.create_time, value.origin) == (7.5, SOURCE)
    assert inventory.synced


def test_equal_version_keeps_the_object(inventory: Inventory) -> None:
    inventory.apply([service("a/b")], ())
    before = inventory.objects()[key("a/b")]
    inventory.apply([service("a/b", port=1)], ())
    assert inventory.objects()[key("a/b")] is before


def test_equal_content_under_another_version_keeps_the_object(inventory: Inventory) -> None:
    inventory.apply([service("a/b")], ())
    before = inventory.objects()[key("a/b")]
    inventory.apply([service("a/b", version="2")], ())
    assert inventory.objects()[key("a/b")] is before
    assert inventory.versions() == {"a/b": "2"}


def test_empty_version_says_nothing(inventory: Inventory) -> None:
    inventory.apply([service("a/b", version="")], ())
    inventory.apply([service("a/b", version="", port=9)], ())
    spec: Any = inventory.objects()[key("a/b")].spec
    assert spec.ports[0].number == 9
    assert inventory.versions() == {}


def test_removed_objects_go(inventory: Inventory) -> None:
    inventory.apply([service("a/b"), service("a/c")], ())
    inventory.apply([], ["a/b", "a/never"])
    assert list(inventory.objects()) == [key("a/c")]


def test_whole_state_replaces(inventory: Inventory) -> None:
    inventory.replace([service("a/b"), service("a/c")])
    inventory.replace([service("a/c"), service("a/d")])
    assert list(inventory.objects()) == [key("a/c"), key("a/d")]


def bad_items() -> list[tuple[Item, str]]:
    empty = Resource(body=packed(ServiceEntry()))
    empty.metadata.name = "a/bad"
    wrong = Resource(body=packed(Timestamp()))
    wrong.metadata.name = "a/bad"
    broken = Resource(body=AnyMessage(type_url=packed(ServiceEntry()).type_url, value=b"\xff"))
    broken.metadata.name = "a/bad"
    return [
        (Item("a/bad", "9", packed(Timestamp())), "google.protobuf.Timestamp"),
        (Item("a/bad", "9", AnyMessage(type_url=packed(Resource()).type_url, value=b"\xff")), "istio.mcp.v1alpha1"),
        (Item("a/bad", "9", packed(empty)), "body.hosts"),
        (Item("a/bad", "9", packed(wrong)), "google.protobuf.Timestamp"),
        (Item("a/bad", "9", packed(broken)), "body"),
        (service("a/bad", version="9", port=70_000), "body.ports[0].number: 70000"),
        (service("bad", version="9"), "'bad' is not of the form namespace/name"),
        (service("a/b/c", version="9"), "'a/b/c' is not of the form namespace/name"),
        (service("/x", version="9"), "'/x' is not of the form namespace/name"),
        (Item("a/bad", "9", service("a/other").body), "'a/other' is not the name"),
    ]


@pytest.mark.parametrize(("bad", "words"), bad_items())
def test_bad_resource_is_named_and_good_ones_count(inventory: Inventory, bad: Item, words: str) -> None:
    text = inventory.apply([service("a/good"), bad, service("a/fine")], ())
    assert text is not None
    assert bad.name in text
    assert words in text
    assert list(inventory.objects()) == [key("a/fine"), key("a/good")]
    (problem,) = inventory.problems()
    assert problem.origin == f"{SOURCE} {bad.name}"
    assert words in problem.message


def test_bad_resource_keeps_its_last_good_copy_until_it_is_mended_or_removed(inventory: Inventory) -> None:
    inventory.apply([service("a/b")], ())
    before = inventory.objects()[key("a/b")]
    bad = service("a/b", version="2", port=0)
    assert inventory.apply([bad], ()) is not None
    assert inventory.objects()[key("a/b")] is before
    assert inventory.versions() == {"a/b": "1"}
    assert inventory.apply([service("a/b", version="3", port=81)], ()) is None
    assert inventory.problems() == ()
    inventory.apply([bad], ())
    inventory.apply([], ["a/b"])
    assert (inventory.objects(), inventory.problems()) == ({}, ())


def test_text_for_the_source_is_bounded(inventory: Inventory) -> None:
    text = inventory.apply([service(f"a/{i}", port=0) for i in range(1000)], ())
    assert text is not None
    assert "refused 1000 resources" in text
    assert "and 990 more" in text
    assert len(text) < 2000


def test_resource_without_readable_name_is_a_problem_too(inventory: Inventory) -> None:
    assert unpack(packed(Timestamp())).name == ""
    assert inventory.replace([unpack(packed(Timestamp())), service("a/b")]) is not None
    assert list(inventory.objects()) == [key("a/b")]


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    inventory = Inventory(SOURCE)
    type_url = packed(Resource()).type_url
    inventory.replace([unpack(AnyMessage(type_url=type_url, value=raw))])
    assert inventory.synced
    whole = service("a/b").body.value
    for end in range(0, len(whole), 3):
        inventory.apply([Item("a/b", "1", AnyMessage(type_url=type_url, value=whole[:end] + raw))], ())
