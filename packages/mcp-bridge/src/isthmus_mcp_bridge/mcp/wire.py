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


def embedded_value(message: bytes, field: int) -> bytes:
    """The value of the first length-delimited field of that number in a message of such fields; empty when it is missing."""
    place = 0
    while place < len(message):
        number, place = _varint(message, place)
        length, place = _varint(message, place)
        if number >> 3 == field:
            return message[place : place + length]
        place += length
    return b""


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7


def embedded(field: int, message: bytes) -> bytes:
    """A serialised message (or string) as the value of a field of another."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(len(message)) + message
