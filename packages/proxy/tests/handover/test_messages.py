"""Messages of a hot upgrade: what is said arrives, and nothing else is taken for a message."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.handover.messages import (
    MAX_BYTES,
    Ask,
    Counters,
    CounterValues,
    HandoverError,
    Message,
    Refused,
    SocketName,
    Sockets,
    decode,
    difference,
    encode,
    in_messages,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
counts = st.dictionaries(texts, st.dictionaries(texts, st.integers(1, 2**63), min_size=1, max_size=8), max_size=30)
messages = st.one_of(
    st.builds(Ask, texts, st.integers(0, 9)),
    st.builds(
        Sockets, st.lists(st.builds(SocketName, texts, texts), max_size=5).map(tuple), st.integers(0, 99), st.booleans()
    ),
    st.builds(CounterValues, counts, st.booleans()),
    st.builds(Refused, texts),
)


@given(messages)
def test_what_is_said_arrives(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages, st.data())
def test_half_a_message_is_none(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    with pytest.raises(HandoverError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=60))
def test_anything_else_is_refused_or_a_message(data: bytes) -> None:
    with contextlib.suppress(HandoverError):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b"7",
        b'{"sockets": [["a"]], "epoch": 0, "more": false}',
        b'{"sockets": [], "more": false}',
        b'{"counters": [], "more": true}',
        b'{"counters": {"a": {"b": "c"}}, "more": true}',
        b'{"ask": "over", "version": "new"}',
    ],
)
def test_wrong_shapes_are_refused(data: bytes) -> None:
    with pytest.raises(HandoverError, match="not a message of this protocol"):
        decode(data)


@given(counts, st.booleans())
def test_counters_arrive_whole_in_messages_that_fit(values: Counters, more: bool) -> None:
    found: dict[str, dict[str, int]] = {}
    sent = list(in_messages(values, more=more))
    for message in sent:
        for scope, each in message.values.items():
            found.setdefault(scope, {}).update(each)
    assert found == values
    assert [message.more for message in sent] == [True] * (len(sent) - 1) + [more]


def test_many_counters_with_long_names_fit() -> None:
    values = {f"cluster.{'x' * 200}{scope}": {f"upstream_rq_{name}": 1 for name in range(40)} for scope in range(100)}
    sent = list(in_messages(values, more=False))
    assert len(sent) > 1
    assert max(len(encode(message)) for message in sent) < MAX_BYTES


def test_a_difference_holds_what_has_grown_only() -> None:
    before = {"a": {"x": 1, "y": 2}, "b": {"z": 5}}
    now = {"a": {"x": 4, "y": 2}, "b": {"z": 3}, "c": {"new": 7}}
    assert difference(now, before) == {"a": {"x": 3}, "c": {"new": 7}}
