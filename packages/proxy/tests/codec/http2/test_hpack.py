"""HPACK against ``hpack``: both directions, tables of any size, blocks in pieces and broken ones."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.http2.errors import COMPRESSION_ERROR, Http2ConnectionError
from isthmus_proxy.codec.http2.header_block import MAX_ENTRIES, BlockMemo
from isthmus_proxy.codec.http2.hpack_decoder import HpackDecoder
from isthmus_proxy.codec.http2.hpack_encoder import encode, encode_integer
from isthmus_proxy.codec.http2.huffman import HuffmanDecoder
from isthmus_proxy.codec.http2.static_table import STATIC_FIELDS, STATIC_NAMES, STATIC_TABLE

NAMES = st.one_of(st.sampled_from([name for name, _ in STATIC_TABLE[1:]]), st.binary(min_size=1, max_size=40))
VALUES = st.one_of(st.sampled_from([value for _, value in STATIC_TABLE[1:]]), st.binary(max_size=300))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=20)


def decoder(max_list_size: int = 1 << 20, max_fields: int = 1000) -> HpackDecoder:
    return HpackDecoder(BlockMemo(), max_list_size, max_fields)


def test_static_table_is_the_published_one() -> None:
    assert STATIC_TABLE[1:] == HeaderTable.STATIC_TABLE
    assert all(STATIC_TABLE[index] == pair for pair, index in STATIC_FIELDS.items())
    assert STATIC_NAMES[b":status"] == 8


def test_every_symbol_has_its_published_huffman_code() -> None:
    encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    for symbol in range(256):
        assert HuffmanDecoder().decode(encoder.encode(bytes([symbol]))) == bytes([symbol])


@given(st.binary(max_size=500))
def test_huffman_round_trip(text: bytes) -> None:
    encoded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    assert HuffmanDecoder().decode(encoded) == text


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\xff", b"\x00", b"\x1f\xff"])
def test_huffman_refuses_eos_and_wrong_padding(data: bytes) -> None:
    with pytest.raises(Http2ConnectionError) as caught:
        HuffmanDecoder().decode(data)
    assert caught.value.code == COMPRESSION_ERROR


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 64, 300, 4096])), max_size=8))
def test_decodes_what_hpack_encodes(blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]]) -> None:
    encoder, ours = hpack.Encoder(), decoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        encoded = encoder.encode(fields, huffman=huffman)
        for _ in range(2 if not fields else 1):
            assert list(ours.decode(encoded).fields) == fields
        assert ours.table == list(encoder.header_table.dynamic_entries)
        assert ours.size == sum(len(name) + len(value) + 32 for name, value in ours.table)


@given(FIELDS)
def test_hpack_decodes_what_we_encode_at_any_time(fields: list[tuple[bytes, bytes]]) -> None:
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    for _ in range(2):
        assert [(bytes(name), bytes(value)) for name, value in theirs.decode(encode(fields), raw=True)] == fields
    assert theirs.header_table._current_size == 0


def test_secrets_are_never_indexed() -> None:
    fields = hpack.Decoder().decode(encode([(b"authorization", b"x"), (b"cookie", b"y"), (b"a", b"b")]))
    assert [type(field).__name__ for field in fields] == ["NeverIndexedHeaderTuple"] * 2 + ["HeaderTuple"]


def test_a_remembered_block_is_shared_until_the_table_changes() -> None:
    encoder, ours = hpack.Encoder(), decoder()
    first = ours.decode(encoder.encode([(b"x", b"1"), (b"y", b"2")]))
    indexed = encoder.encode([(b"x", b"1"), (b"y", b"2")])
    assert ours.decode(indexed) is first
    assert (ours.decode(indexed), ours.hits) == (first, 1)
    ours.decode(encoder.encode([(b"z", b"3")]))
    assert indexed == b"\xbf\xbe"
    assert ours.decode(indexed).fields == ((b"y", b"2"), (b"z", b"3"))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(block: bytes) -> None:
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    theirs.max_allowed_table_size = 4096
    try:
        ours = list(decoder().decode(block).fields)
    except Http2ConnectionError:
        return
    try:
        expected = theirs.decode(block, raw=True)
    except hpack.HPACKError:
        return  # hpack limits what we need not; the reverse never happens
    assert ours == [(bytes(name), bytes(value)) for name, value in expected]


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # beyond an empty table
        b"\xff\xff\xff\xff\xff\xff\x0f",  # an endless integer
        b"\xff\xff\xff\xff\xff\x7f",  # beyond 31 bits
        b"\x82\x20",  # size update after a field
        b"\x3f\xe2\x1f",  # a table of 4097
        b"\x00\x01",  # ends within a name
        b"\x00\x01a\x05bc",  # ends within a value
        b"\x7f\x00\x01a",  # name index beyond the table
    ],
)
def test_refuses(block: bytes) -> None:
    with pytest.raises(Http2ConnectionError) as caught:
        decoder().decode(block)
    assert caught.value.code == COMPRESSION_ERROR


def test_a_bomb_overflows_the_list_and_keeps_the_table_right() -> None:
    encoder = hpack.Encoder()
    big = (b"b", b"x" * 4000)
    ours = decoder(max_list_size=60 * 1024)
    ours.decode(encoder.encode([big]))
    bomb = ours.decode(b"\xbe" * 16000)
    assert bomb.overflow
    assert bomb.fields == ()
    assert ours.table == [big]


@pytest.mark.parametrize(("count", "overflow"), [(100, False), (101, True)])
def test_the_number_of_fields_is_limited(count: int, overflow: bool) -> None:
    assert decoder(max_fields=100).decode(b"\x82" * count).overflow is overflow


@pytest.mark.parametrize(("size", "overflow"), [(100, False), (99, True)])
def test_the_size_of_the_list_is_limited(size: int, overflow: bool) -> None:
    assert decoder(max_list_size=size).decode(encode([(b"name", b"v" * 64)])).overflow is overflow


@given(st.integers(0, 1 << 30), st.sampled_from([0x0F, 0x3F, 0x7F, 0x1F]))
def test_integers(value: int, mask: int) -> None:
    assert hpack.hpack.decode_integer(encode_integer(value, mask, 0), mask.bit_length())[0] == value


def test_the_shared_memo_is_bounded() -> None:
    memo = BlockMemo()
    for number in range(MAX_ENTRIES + 1):
        memo.of(((b"n", b"%d" % number),))
    assert (len(memo), memo.resets) == (1, 1)
    memo.of(((b"n", b"x" * 5000),))
    assert len(memo) == 1
