"""Just enough of protobuf's wire format to speak with registries whose few messages are not worth generated code; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are no protobuf message; the text says what is wrong with them."""


def varint(number: int) -> bytes:
    """A number as protobuf writes it; a negative one as its 64-bit complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: bytes | str | int) -> bytes:
    """One field; an empty value is left out, as proto3 does."""
    if not value:
        return b""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(data)) + data


def string_map(number: int, pairs: Mapping[str, str]) -> bytes:
    """A ``map<string, string>`` field; keys sorted."""
    entries = (field(1, key) + field(2, value) for key, value in sorted(pairs.items()))
    return b"".join(varint(number << 3 | LENGTH_DELIMITED) + varint(len(one)) + one for one in entries)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in order: number, and an integer or the bytes of a string or message. Raises WireError."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise WireError("field number 0")
        if kind == VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == LENGTH_DELIMITED:
            length, place = _varint(data, place)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"wire type {kind}")
        if place + length > len(data):
            raise WireError("cut short")
        yield number, data[place : place + length]
        place += length


def read(data: bytes) -> dict[int, list[int | bytes]]:
    """All fields by number. Raises WireError."""
    found: dict[int, list[int | bytes]] = {}
    for number, value in fields(data):
        found.setdefault(number, []).append(value)
    return found


def text(message: Mapping[int, list[int | bytes]], number: int) -> str:
    """A string field, the last one if it is repeated; empty when it is missing. Raises WireError."""
    return data_of(message, number).decode("utf-8", "replace")


def data_of(message: Mapping[int, list[int | bytes]], number: int) -> bytes:
    """A bytes or message field, the last one if it is repeated; empty when it is missing. Raises WireError."""
    value = message.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise WireError(f"field {number} is a number")
    return value


def integer(message: Mapping[int, list[int | bytes]], number: int) -> int:
    """A varint field, the last one if it is repeated; 0 when it is missing. Raises WireError."""
    value = message.get(number, [0])[-1]
    if not isinstance(value, int):
        raise WireError(f"field {number} is not a number")
    return value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(MAX_VARINT_BYTES):
        if place >= len(data):
            raise WireError("cut short")
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number & ((1 << 64) - 1), place
    raise WireError("a varint of more than ten bytes")
