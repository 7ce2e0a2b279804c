"""HPACK encoding without state: fields of the static table by index, all others as literals that enter no table.

A block made so means the same on every connection at any time, so it is made once and reused wherever its fields are the
same, like the head of a message in HTTP/1.1. Strings are not Huffman-coded: coding costs more than the bytes it saves are
worth inside a host or a data centre, on both ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus_proxy.codec.http2.static_table import STATIC_FIELDS, STATIC_NAMES, Field

_NEVER_INDEXED = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})
"""Secrets: no intermediary may put them into a table (RFC 7541, 7.1.3)."""


def encode(fields: Iterable[Field]) -> bytes:
    """The block of ``fields``."""
    return b"".join([encode_field(name, value) for name, value in fields])


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field."""
    index = STATIC_FIELDS.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    return encode_name(name) + encode_string(value)


def encode_name(name: bytes) -> bytes:
    """The part of a literal before its value; the value follows as ``encode_string`` makes it."""
    pattern = 0x10 if name in _NEVER_INDEXED else 0x00
    index = STATIC_NAMES.get(name)
    if index is not None:
        return encode_integer(index, 0x0F, pattern)
    return bytes((pattern,)) + encode_string(name)


def encode_string(text: bytes) -> bytes:
    """A string literal, not Huffman-coded."""
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    return encode_integer(length, 0x7F, 0x00) + text


def encode_integer(value: int, mask: int, pattern: int) -> bytes:
    """``value`` with a prefix of the bits in ``mask``, below ``pattern`` (RFC 7541, 5.1)."""
    if value < mask:
        return bytes((pattern | value,))
    out = bytearray((pattern | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
