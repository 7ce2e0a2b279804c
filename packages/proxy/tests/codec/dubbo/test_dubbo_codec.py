"""Dubbo frames byte by byte, and hessian2 as far as it is read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.dubbo import hessian2
from isthmus_proxy.codec.dubbo.codec import DubboCodec
from isthmus_proxy.codec.dubbo.testing import attachments, frame, request, response, text
from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    ONE_WAY,
    REQUEST,
    RESPONSE,
    Frame,
    RpcProtocolError,
    Unreadable,
)

CODEC = DubboCodec()
LIMIT = 1 << 20

# One of each kind of value that hessian2 has, as written by Java's hessian-lite.
VALUES = [
    b"N", b"T", b"F",
    b"\x90", b"\xc8\x30", b"\xd4\x00\x01", b"I\x00\x04\x00\x00",
    b"\xe0", b"\xf8\x10", b"\x3c\x00\x01", b"Y\x00\x00\x00\x01", b"L" + bytes(8),
    b"\x5b", b"\x5c", b"\x5d\x05", b"\x5e\x00\x05", b"\x5f\x00\x00\x30\x39", b"D" + bytes(8),
    b"\x4a" + bytes(8), b"\x4b" + bytes(4),
    b"", b"\x05hello", b"\x30\x21" + b"x" * 33, b"S\x00\x02hi", b"R\x00\x01aS\x00\x01b", "\x03äöü".encode(),
    b"\x04\xf0\x9f\x98\x80ab",  # a character of two units
    b"\x22ab", b"\x34\x10" + bytes(16), b"A\x00\x01xB\x00\x01y", b"B\x00\x03abc",
    b"Ha" + b"Z", b"H\x01k\x90Z", b"M\x04java\x01k\x01vZ", b"M\x90Z",
    b"U\x01[ab" + b"Z", b"V\x01[\x92\x90\x91", b"W\x90\x91Z", b"\x58\x92\x90\x91", b"\x72\x01[\x90\x91", b"\x7a\x90\x91",
    b"C\x07com.x.A\x92\x01a\x01b\x60\x90\x01x", b"Q\x90",
]  # fmt: skip
VALUES = [value for value in VALUES if value and not value.startswith((b"Ha", b"U\x01[a"))]


def only(data: bytes) -> Frame:
    frames, end, need = CODEC.split(data, LIMIT)
    assert (len(frames), end, need) == (1, len(data), 0)
    return frames[0]


def test_kinds_by_their_golden_bytes() -> None:
    asked = bytes.fromhex("dabb e200 0000000000000001 00000001 4e")
    answered = bytes.fromhex("dabb 2214 0000000000000001 00000001 4e")
    assert CODEC.heartbeat(1, 0) == asked
    assert only(asked)[0] == HEARTBEAT
    assert CODEC.heartbeat_reply(asked) == answered
    assert only(answered)[0] == HEARTBEAT_REPLY
    json = frame(0xE6, 5, b"null\n")
    assert CODEC.heartbeat_reply(json) == frame(0x26, 5, b"null\n", 20)
    assert only(CODEC.goaway(0))[0] == GOAWAY
    assert only(frame(0xA2, 0, b"\x01W"))[0] == HEARTBEAT_REPLY  # WRITEABLE: nothing to do, nothing to answer
    assert only(request(1, "a.B", "m"))[0] == REQUEST
    assert only(request(1, "a.B", "m", two_way=False))[0] == ONE_WAY
    assert only(response(1))[0] == RESPONSE


def test_a_call_is_read_as_far_as_its_attachments() -> None:
    arguments = text("hello") + b"C\x07com.x.A\x91\x01n\x60\x90"
    data = request(
        7, "com.x.Foo", "say", arguments, types="Ljava/lang/String;Lcom/x/A;", extra={"tag": "gray", "group": "g"}
    )
    found = CODEC.read(data, only(data))
    assert (found.service, found.method) == (b"com.x.Foo", b"say")
    assert dict(found.headers) == {
        b"dubbo": b"2.0.2", b"version": b"0.0.0", b"path": b"com.x.Foo", b"interface": b"com.x.Foo", b"tag": b"gray", b"group": b"g",
    }  # fmt: skip
    key = data[only(data)[5] : only(data)[6]]
    assert key == b"".join(map(text, ("2.0.2", "com.x.Foo", "0.0.0", "say", "Ljava/lang/String;Lcom/x/A;")))


@pytest.mark.parametrize("value", VALUES)
def test_every_kind_of_value_is_stepped_over_and_no_cut_of_it(value: bytes) -> None:
    reader = hessian2.Reader(value + b"T", 0, len(value) + 1)
    reader.skip()
    assert reader.position == len(value)
    for size in range(len(value)):
        cut = hessian2.Reader(value, 0, size)
        with pytest.raises(Unreadable):
            cut.skip()


@given(
    st.lists(st.sampled_from(VALUES[:20]), max_size=8),
    st.dictionaries(st.text(max_size=40), st.text(max_size=40), max_size=5),
)
def test_attachments_are_found_behind_any_arguments(arguments: list[bytes], extra: dict[str, str]) -> None:
    data = request(1, "s", "m", b"".join(arguments), types="I" * len(arguments), extra=extra)
    headers = CODEC.read(data, only(data)).headers
    for name, value in extra.items():
        assert (name.encode(), value.encode()) in headers


@pytest.mark.parametrize(
    "body", [b"H" * 500, b"W" * 500, b"V\x01[I\x7f\xff\xff\xff", b"\x61", b"@", b"C\x01aI\x7f\xff\xff\xff"]
)
def test_hostile_values_are_refused(body: bytes) -> None:
    reader = hessian2.Reader(body, 0, len(body))
    with pytest.raises(Unreadable):
        reader.skip()


def test_other_serialisations_pass_without_being_read() -> None:
    data = frame(0xC6, 1, b'"2.0.2"\n"com.x.Foo"\n')
    assert CODEC.read(data, only(data)).service == b""
    with pytest.raises(Unreadable):
        CODEC.with_headers(data, [])


def test_keys_of_different_meaning_never_agree() -> None:
    plain = request(0xC6, "s", "m")
    long = request(1, "x" * 2000, "m")
    json = frame(0xC6, 1, b"x")
    one = frame(0xC2, 1, b"\xc6")
    keys = [data[only(data)[5] : only(data)[6]] for data in (plain, long, json, one)]
    assert len(set(keys)) == 4


def test_cuts_limits_and_what_is_no_dubbo() -> None:
    data = request(3, "s", "m")
    for size in range(len(data)):
        frames, end, need = CODEC.split(data[:size], LIMIT)
        assert (frames, end) == ([], 0)
        assert need in (0, len(data))
    assert len(CODEC.split(data, len(data))[0]) == 1
    with pytest.raises(RpcProtocolError) as caught:
        CODEC.split(data, len(data) - 1)
    assert caught.value.identifier == 3
    with pytest.raises(RpcProtocolError):
        CODEC.split(b"GET / HTTP/1.1\r\n\r\n", LIMIT)
    assert CODEC.split(data + b"GET / HTTP/1.1\r\n\r\n", LIMIT)[1:] == (len(data), 0)
    assert [CODEC.detect(each) for each in (b"", b"\xda", b"\xda\xbb", b"\xda\0", b"G")] == [
        None,
        None,
        True,
        False,
        False,
    ]


def test_errors_say_what_happened() -> None:
    for http, dubbo in ((404, 60), (503, 60), (529, 100), (504, 31), (502, 35), (400, 40), (422, 40), (501, 70)):
        data = CODEC.error(9, 2, http, "why")
        assert (only(data)[3], only(data)[7], data[16:]) == (9, dubbo, b"\x03why")
    assert CODEC.error(9, 6, 504, "why")[16:] == b'"why"\n'
    assert [CODEC.http_status(each) for each in (20, 30, 31, 100, 80)] == [200, 504, 504, 503, 500]


def test_attachments_are_replaced_and_the_arguments_stay() -> None:
    data = request(1, "s", "m", b"\x90", types="I", extra={"k": "v"})
    headers = CODEC.read(data, only(data)).headers
    changed = CODEC.with_headers(data, [*headers, (b"new", "ä".encode())])
    assert changed == request(1, "s", "m", b"\x90", types="I", extra={"k": "v", "new": "ä"})
    assert CODEC.set_id(data, 2**64 - 1)[4:12] == b"\xff" * 8


@given(st.binary(max_size=200))
def test_garbage_never_breaks_the_decoder(body: bytes) -> None:
    data = struct.pack(">HBBQI", 0xDABB, 0xC2, 0, 1, len(body)) + body
    found = only(data)
    try:
        CODEC.read(data, found)
    except Unreadable:
        return


@given(st.binary(max_size=100))
def test_garbage_frames_are_refused_or_waited_for(data: bytes) -> None:
    try:
        frames, end, _ = CODEC.split(data, LIMIT)
    except RpcProtocolError:
        return
    assert end <= len(data)
    assert all(frame[2] <= end for frame in frames)


def test_maps_are_written_as_they_are_read() -> None:
    pairs = [(b"k", b"v"), (("ü" * 40).encode(), b"x" * 2000)]
    written = hessian2.write_map(pairs)
    assert hessian2.Reader(written, 0, len(written)).strings() == pairs
    assert attachments({"k": "v"}) == hessian2.write_map([(b"k", b"v")])
