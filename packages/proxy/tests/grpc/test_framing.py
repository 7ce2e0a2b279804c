from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.grpc.framing import MessageReader, frame
from isthmus_proxy.grpc.status import GrpcError


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(min_value=1, max_value=50), min_size=1))
def test_messages_survive_any_cutting(messages: list[bytes], sizes: list[int]) -> None:
    data = b"".join(frame(message) for message in messages)
    reader, found, position, turn = MessageReader(1000), [], 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        found += reader.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert found == messages
    assert reader.pending == 0


def test_an_unfinished_message_waits() -> None:
    reader = MessageReader(10)
    assert reader.feed(frame(b"abc") + frame(b"defg")[:-1]) == [b"abc"]
    assert reader.pending == 8
    assert reader.feed(b"g") == [b"defg"]


def test_the_largest_message_is_taken_and_one_byte_more_is_not() -> None:
    assert MessageReader(3).feed(frame(b"abc")) == [b"abc"]
    with pytest.raises(GrpcError, match="RESOURCE_EXHAUSTED: a message of 4 bytes; at most 3"):
        MessageReader(3).feed(frame(b"abcd")[:5])


def test_compressed_messages_are_refused() -> None:
    with pytest.raises(GrpcError, match="UNIMPLEMENTED"):
        MessageReader(3).feed(b"\1\0\0\0\0")
