"""Bolt frames byte by byte: both versions, every cut, limits, check sums, and whatever hypothesis thinks of."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.bolt import simple_map, status
from isthmus_proxy.codec.bolt.codec import BoltCodec
from isthmus_proxy.codec.bolt.testing import CLASS, BoltVersion, request, response
from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    ONE_WAY,
    REQUEST,
    RESPONSE,
    SEALED,
    Frame,
    RpcProtocolError,
    Unreadable,
)

CODEC = BoltCodec()
LIMIT = 1 << 20
HEADER = [(b"service", b"com.x.Foo:1.0"), (b"sofa_head_method_name", b"say"), (b"k", b"v")]
V1, V2, V2_CRC = BoltVersion(1), BoltVersion(2), BoltVersion(2, 2, 1)
VERSIONS = pytest.mark.parametrize("version", [V1, V2, BoltVersion(2, 1, 1), BoltVersion(2, 2, 0), V2_CRC])


def only(data: bytes) -> Frame:
    frames, end, need = CODEC.split(data, LIMIT)
    assert (len(frames), end, need) == (1, len(data), 0)
    return frames[0]


def test_a_heartbeat_and_its_answer_are_the_bytes_that_sofa_bolt_sends() -> None:
    asked = bytes.fromhex("010100000100000001 01 ffffffff 0000 0000 00000000")
    answered = bytes.fromhex("010000000100000001 01 0000 0000 0000 00000000")
    assert CODEC.heartbeat(1, 1) == asked
    frame = only(asked)
    assert (frame[0], frame[3], frame[7]) == (HEARTBEAT, 1, -1)
    assert CODEC.heartbeat_reply(asked) == answered
    assert only(answered)[0] == HEARTBEAT_REPLY


@VERSIONS
def test_a_request_says_where_everything_is(version: BoltVersion) -> None:
    data = request(7, HEADER, b"body", version=version, timeout=1500)
    kind, start, end, identifier, id_at, key_start, key_end, extra, _ = frame = only(data)
    assert kind == (REQUEST | SEALED if version == V2_CRC else REQUEST)
    assert (start, end, identifier, extra) == (0, len(data), 7, 1500)
    assert data[id_at : id_at + 4] == b"\0\0\0\7"
    assert data[key_start:key_end] == simple_map.write(HEADER)
    found = CODEC.read(data, frame)
    assert (found.service, found.method, found.headers) == (b"com.x.Foo:1.0", b"say", HEADER)


@VERSIONS
def test_a_response_says_its_status_and_answers_repeat_the_form_of_the_request(version: BoltVersion) -> None:
    assert only(response(9, b"x" * 40, version=version))[7] == status.SUCCESS
    asked = only(request(9, HEADER, version=version, codec=12))
    for http, bolt in ((404, 6), (503, 6), (529, 4), (504, 7), (502, 16), (400, 9), (422, 18), (403, 2), (501, 3)):
        answer = CODEC.error(9, asked[8], http, "why")
        frame = only(answer)
        assert (frame[0] & ~SEALED, frame[3], frame[7]) == (RESPONSE, 9, bolt)
        assert answer[0] == version.protocol
        assert frame[8] == asked[8]


def test_kinds_are_told_apart() -> None:
    assert only(request(1, HEADER, one_way=True))[0] == ONE_WAY
    assert only(CODEC.goaway(1))[0] == GOAWAY
    assert only(CODEC.goaway(only(request(1, HEADER, version=V2))[8]))[0] == GOAWAY


def test_without_a_header_the_class_name_is_the_service() -> None:
    data = request(1, [], b"b")
    assert CODEC.read(data, only(data)).service == CLASS
    alias = request(1, [(b"sofa_head_target_service", b"s:1.0")])
    assert CODEC.read(alias, only(alias)).service == b"s:1.0"


@VERSIONS
def test_a_frame_cut_anywhere_waits_for_the_rest(version: BoltVersion) -> None:
    data = request(3, HEADER, b"0123456789", version=version)
    for size in range(len(data)):
        frames, end, need = CODEC.split(data[:size], LIMIT)
        assert (frames, end) == ([], 0)
        assert need in (0, len(data))
    whole, end, _ = CODEC.split(data + data[:5], LIMIT)
    assert (len(whole), end) == (1, len(data))


def test_versions_alternate_on_a_connection() -> None:
    parts = [request(i, HEADER, b"x" * i, version=v) for i, v in enumerate((V1, V2, V2_CRC, V1, BoltVersion(2, 1, 1)))]
    frames, end, _ = CODEC.split(b"".join(parts), LIMIT)
    assert [frame[3] for frame in frames] == [0, 1, 2, 3, 4]
    assert end == sum(map(len, parts))


@VERSIONS
def test_limits_hold_at_n_and_one_more(version: BoltVersion) -> None:
    data = request(3, HEADER, b"0123456789", version=version)
    assert len(CODEC.split(data, len(data))[0]) == 1
    with pytest.raises(RpcProtocolError) as caught:
        CODEC.split(data, len(data) - 1)
    assert caught.value.identifier == 3
    # What stands before it is still served.
    good = request(2, [])
    frames, end, need = CODEC.split(good + data, len(data) - 1)
    assert ([frame[3] for frame in frames], end, need) == ([2], len(good), 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\3" + bytes(30),
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        bytes.fromhex("0103 0001 01 00000001 01 ffffffff 0000 0000 00000000"),  # a type that does not exist
        bytes.fromhex("0101 0009 01 00000001 01 ffffffff 0000 0000 00000000"),  # so with the command
        bytes.fromhex("0201 01 0009 01 00000001 01 00 ffffffff 0000 0000 00000000"),
    ],
)
def test_what_is_no_bolt_is_refused(data: bytes) -> None:
    with pytest.raises(RpcProtocolError):
        CODEC.split(data, LIMIT)
    frames, end, need = CODEC.split(request(1, HEADER) + data, LIMIT)
    assert (len(frames), end, need) == (1, len(request(1, HEADER)), 0)


def test_a_check_sum_is_read_verified_if_asked_for_and_made_anew() -> None:
    data = request(1, HEADER, b"body", version=V2_CRC)
    assert int.from_bytes(data[-4:], "big") == crc32(data[:-4])
    changed = CODEC.set_id(data, 0xFFFFFFFE)
    assert only(changed)[3] == 0xFFFFFFFE
    assert int.from_bytes(changed[-4:], "big") == crc32(changed[:-4])
    broken = data[:-1] + bytes([data[-1] ^ 1])
    assert only(broken)[3] == 1
    verifying = BoltCodec(verify_crc=True)
    assert len(verifying.split(data, LIMIT)[0]) == 1
    with pytest.raises(RpcProtocolError):
        verifying.split(broken, LIMIT)


@VERSIONS
def test_headers_are_replaced_and_nothing_else(version: BoltVersion) -> None:
    data = request(5, HEADER, b"content", version=version)
    longer = [*HEADER, (b"new", b"x" * 300)]
    assert CODEC.with_headers(data, longer) == request(5, longer, b"content", version=version)
    assert CODEC.with_headers(data, []) == request(5, [], b"content", version=version)
    with pytest.raises(Unreadable):
        CODEC.with_headers(data, [(b"k", b"x" * 0x8000)])


def test_detection_takes_a_few_bytes() -> None:
    assert CODEC.detect(b"") is None
    assert CODEC.detect(b"\1") is None
    assert CODEC.detect(b"\1\1") is True
    assert CODEC.detect(b"\1\7") is False
    assert CODEC.detect(b"\2\1") is None
    assert CODEC.detect(b"\2\2\1") is True
    assert CODEC.detect(b"\2\3\1") is False
    for other in (b"GET ", b"PRI * ", b"\x16\3\1", b"\xda\xbb"):
        assert CODEC.detect(other) is False


def test_null_strings_drop_their_pair() -> None:
    null, k, v = b"\xff\xff\xff\xff", b"\0\0\0\1k", b"\0\0\0\1v"
    assert simple_map.read(k + null + k + v) == [(b"k", b"v")]
    assert simple_map.read(null + v + k + v) == [(b"k", b"v")]
    assert simple_map.read(k + b"\0\0\0\0") == [(b"k", b"")]


@pytest.mark.parametrize("block", [b"\0", b"\0\0\0", b"\0\0\0\2k", b"\0\0\0\1k", b"\0\0\0\1k\0\0", b"\x7f\xff\xff\xff"])
def test_a_header_that_is_cut_is_unreadable(block: bytes) -> None:
    with pytest.raises(Unreadable):
        simple_map.read(block)
    assert CODEC.fields(block) is None


pairs = st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=30)), max_size=8)
versions = st.builds(BoltVersion, st.just(2), st.sampled_from((1, 2)), st.sampled_from((0, 1))) | st.just(V1)


@given(pairs)
def test_maps_come_back(header: list[tuple[bytes, bytes]]) -> None:
    block = simple_map.write(header)
    assert simple_map.read(block) == header
    assert [(name, block[start:end]) for name, start, end in simple_map.fields(block)] == header


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFFFFFF), pairs, st.binary(max_size=200), versions, st.booleans()), max_size=6
    ),
    st.data(),
)
def test_any_frames_in_any_pieces(
    frames: list[tuple[int, list[tuple[bytes, bytes]], bytes, BoltVersion, bool]], data: st.DataObject
) -> None:
    sent = [
        request(i, header, body, version=v) if asks else response(i, body, version=v)
        for i, header, body, v, asks in frames
    ]
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    held, found = b"", []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        held += stream[start:stop]
        got, end, _ = CODEC.split(held, LIMIT)
        found += [held[frame[1] : frame[2]] for frame in got]
        held = held[end:]
    assert found == sent
    assert held == b""


@given(st.binary(max_size=300))
def test_garbage_never_breaks_the_decoder(data: bytes) -> None:
    try:
        frames, end, need = CODEC.split(data, LIMIT)
    except RpcProtocolError:
        return
    assert 0 <= end <= len(data)
    assert need >= 0
    for frame in frames:
        if frame[0] & ~SEALED in (REQUEST, ONE_WAY):
            try:
                CODEC.read(data, frame)
            except Unreadable:
                continue


@given(versions, pairs, st.binary(max_size=50), st.integers(0, 0xFFFFFFFF))
def test_an_identifier_changes_and_nothing_else(
    version: BoltVersion, header: list[tuple[bytes, bytes]], body: bytes, identifier: int
) -> None:
    assert CODEC.set_id(request(1, header, body, version=version), identifier) == request(
        identifier, header, body, version=version
    )
