"""HPACK decoding (RFC 7541): header blocks in, fields out, each distinct block decoded once per state of the table.

A block that leaves the dynamic table as it was decodes to the same fields as long as no other block changes the table. So
its bytes are remembered until the next change, and the fields are shared by all connections that see the same ones: what
the owners of a connection derive from a block (a parsed request, a plan) is kept with it.
"""

from __future__ import annotations

from isthmus_proxy.codec.http2.errors import ENHANCE_YOUR_CALM, Http2ConnectionError, compression
from isthmus_proxy.codec.http2.header_block import BlockMemo, HeaderBlock
from isthmus_proxy.codec.http2.huffman import HUFFMAN
from isthmus_proxy.codec.http2.static_table import STATIC_ENTRIES, STATIC_TABLE, Field

ENTRY_OVERHEAD = 32
"""What an entry costs beyond its bytes, in a table and in a header list (RFC 7541, 4.1; RFC 9113, 6.5.2)."""

_MAX_REMEMBERED = 64
_MAX_REMEMBERED_BYTES = 1024
"""Blocks a connection remembers, and the length of the longest: 64 KiB a connection at most, nothing while it is idle anew."""

_MAX_INTEGER = (1 << 31) - 1


class HpackDecoder:
    """Decodes the blocks of one connection. ``table_size`` is the limit of the dynamic table that the peer was told.

    ``max_list_size`` and ``max_fields`` bound a header list: a block beyond them is decoded, so that the table stays right,
    but its fields are not kept, and ``overflow`` is set on it. ``hits`` counts blocks that were remembered.
    """

    __slots__ = (
        "_entries",
        "_max_size",
        "_remembered",
        "_shared",
        "_size",
        "hits",
        "max_fields",
        "max_list_size",
        "table_size",
    )

    def __init__(self, shared: BlockMemo, max_list_size: int, max_fields: int, table_size: int = 4096) -> None:
        self._shared = shared
        self._entries: list[Field] = []  # oldest first
        self._size = 0
        self._max_size = 4096
        self.table_size = max(table_size, 4096)
        self.max_list_size = max_list_size
        self.max_fields = max_fields
        self._remembered: dict[bytes, HeaderBlock] = {}
        self.hits = 0

    @property
    def size(self) -> int:
        """Size of the dynamic table in HPACK's measure."""
        return self._size

    @property
    def table(self) -> list[Field]:
        """The dynamic table, newest entry first."""
        return self._entries[::-1]

    def decode(self, block: bytes) -> HeaderBlock:
        """The fields of ``block``. Raises Http2ConnectionError (COMPRESSION_ERROR)."""
        known = self._remembered.get(block)
        if known is not None:
            self.hits += 1
            return known
        fields: list[Field] = []
        changed, overflow = self._read(block, fields)
        decoded = HeaderBlock((), overflow=True) if overflow else self._shared.of(tuple(fields))
        if changed:
            if self._remembered:
                self._remembered = {}
        elif len(block) <= _MAX_REMEMBERED_BYTES:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered = {}
            self._remembered[block] = decoded
        return decoded

    def _read(self, block: bytes, fields: list[Field]) -> tuple[bool, bool]:
        """Put the fields of ``block`` into ``fields``; answer whether the table changed and whether the list is too large."""
        position = self._size_updates(block)
        changed = position > 0
        if self._max_size > self.table_size:
            raise compression("the dynamic table is larger than SETTINGS_HEADER_TABLE_SIZE")
        end = len(block)
        entries = self._entries
        room, left = self.max_list_size, self.max_fields
        while position < end:
            first = block[position]
            if first & 0x80:
                index = first & 0x7F
                position += 1
                if index == 0x7F:
                    index, position = _integer(block, position, 0x7F)
                if 0 < index <= STATIC_ENTRIES:
                    field = STATIC_TABLE[index]
                elif 0 < index - STATIC_ENTRIES <= len(entries):
                    field = entries[STATIC_ENTRIES - index]
                else:
                    raise compression(f"index {index} is beyond the table")
            elif first & 0x40:
                field, position = self._literal(block, position, 0x3F)
                self._insert(field)
                changed = True
            elif first & 0x20:
                raise compression("a dynamic table size update after a field")
            else:
                field, position = self._literal(block, position, 0x0F)
            room -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            left -= 1
            if room >= 0 and left >= 0:
                fields.append(field)
        return changed, room < 0 or left < 0

    def _size_updates(self, block: bytes) -> int:
        """Apply the size updates at the start of ``block`` (at most two make sense); answer where the fields begin."""
        position = 0
        while position < len(block) and block[position] & 0xE0 == 0x20:
            size = block[position] & 0x1F
            position += 1
            if size == 0x1F:
                size, position = _integer(block, position, 0x1F)
            if size > self.table_size:
                raise compression(f"a dynamic table of {size} bytes; {self.table_size} were offered")
            self._max_size = size
            self._evict(0)
        return position

    def _literal(self, block: bytes, position: int, mask: int) -> tuple[Field, int]:
        index = block[position] & mask
        position += 1
        if index == mask:
            index, position = _integer(block, position, mask)
        if index == 0:
            name, position = _string(block, position)
        elif index <= STATIC_ENTRIES:
            name = STATIC_TABLE[index][0]
        elif index - STATIC_ENTRIES <= len(self._entries):
            name = self._entries[STATIC_ENTRIES - index][0]
        else:
            raise compression(f"index {index} is beyond the table")
        value, position = _string(block, position)
        return (name, value), position

    def _insert(self, field: Field) -> None:
        size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        if self._size + size > self._max_size:
            self._evict(size)
        if size <= self._max_size:
            self._entries.append(field)
            self._size += size

    def _evict(self, needed: int) -> None:
        """Drop the oldest entries until ``needed`` bytes fit, or all."""
        entries = self._entries
        gone = 0
        while gone < len(entries) and self._size + needed > self._max_size:
            name, value = entries[gone]
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD
            gone += 1
        del entries[:gone]


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is full (RFC 7541, 5.1): (value, next position)."""
    value, shift = prefix, 0
    while True:
        if position >= len(block):
            raise compression("a header block ends within an integer")
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            break
        shift += 7
        if shift > 28:
            raise compression("an integer of more than five bytes")
    if value > _MAX_INTEGER:
        raise compression("an integer beyond 31 bits")
    return value, position


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """A string literal (RFC 7541, 5.2): (text, next position)."""
    if position >= len(block):
        raise compression("a header block ends before a string")
    first = block[position]
    length = first & 0x7F
    position += 1
    if length == 0x7F:
        length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise compression("a header block ends within a string")
    text = block[position:end]
    return (HUFFMAN.decode(text) if first & 0x80 else text), end


def too_large(limit: int) -> Http2ConnectionError:
    """The fault of a header block that is longer than any list within ``limit`` could be."""
    return Http2ConnectionError(
        ENHANCE_YOUR_CALM, f"a header block of more than {limit} bytes", "http2.header_list_size_too_large"
    )
