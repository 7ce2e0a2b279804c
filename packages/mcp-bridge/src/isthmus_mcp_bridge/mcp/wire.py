"""Just enough of protobuf's wire format to put serialised messages into others without decoding them."""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """A non-negative number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def embedded(field: int, message: bytes) -> bytes:
    """A serialised message (or string) as the value of a field of another."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(len(message)) + message
