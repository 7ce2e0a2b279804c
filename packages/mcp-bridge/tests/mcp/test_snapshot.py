from __future__ import annotations

from google.protobuf.any_pb2 import Any as ProtoAny
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.mcp.snapshot import EMPTY, Collection, SnapshotResource
from isthmus_mcp_bridge.mcp.wire import embedded, varint


def resource(name: str, version: str = "1") -> SnapshotResource:
    return SnapshotResource(name, version, name.encode())


def test_the_version_says_what_is_in_it_and_nothing_else() -> None:
    one = Collection({"a": resource("a"), "b": resource("b")})
    assert one.version == Collection({"b": resource("b"), "a": resource("a")}).version
    assert one.body == Collection({"b": resource("b"), "a": resource("a")}).body
    assert one.version != Collection({"a": resource("a"), "b": resource("b", "2")}).version
    assert one.version != Collection({"a": resource("a")}).version
    assert one.version != EMPTY.version


def test_changes_make_a_new_collection_and_leave_the_old_one() -> None:
    one = Collection({"a": resource("a"), "b": resource("b")})
    two = one.changed({"a": None, "c": resource("c"), "never": None})
    assert [one.name for one in two.ordered] == ["b", "c"]
    assert list(one.resources) == ["a", "b"]


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(number: int) -> None:
    encoded = UInt64Value(value=number).SerializeToString()
    assert encoded == (b"\x08" + varint(number) if number else b"")


@given(st.text(min_size=1), st.binary(min_size=1, max_size=300))
def test_embedded_fields_are_protobufs(type_url: str, value: bytes) -> None:
    expected = ProtoAny(type_url=type_url, value=value).SerializeToString()
    assert embedded(1, type_url.encode()) + embedded(2, value) == expected
