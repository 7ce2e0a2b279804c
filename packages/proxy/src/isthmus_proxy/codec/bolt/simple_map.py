"""The header of a Bolt frame: SOFARPC's SimpleMap, pairs of strings that each follow their length (signed 32 bits, -1 is null)."""

from __future__ import annotations

from isthmus_proxy.codec.rpc import Field, Unreadable

Pairs = list[tuple[bytes, bytes]]


def fields(block: bytes) -> list[Field]:
    """The pairs of ``block`` whose name and value are not null: name, start and end of the value. Raises Unreadable."""
    found: list[Field] = []
    position, size = 0, len(block)
    while position < size:
        start, position = _string(block, position, size)
        name_end = position
        value, position = _string(block, position, size)
        if start >= 0 and value >= 0:
            found.append((block[start:name_end], value, position))
    return found


def _string(block: bytes, position: int, size: int) -> tuple[int, int]:
    """(start of a string or -1 if it is null, its end)."""
    start = position + 4
    if start > size:
        raise Unreadable("the header ends inside a length")
    length = int.from_bytes(block[position:start], "big")
    if length == 0xFFFFFFFF:
        return -1, start
    end = start + length
    if end > size:
        raise Unreadable(f"the header has a string of {length} bytes where {size - start} are left")
    return start, end


def read(block: bytes) -> Pairs:
    """The pairs of ``block``. Raises Unreadable."""
    return [(name, block[start:end]) for name, start, end in fields(block)]


def write(pairs: Pairs) -> bytes:
    """The bytes of ``pairs``."""
    parts: list[bytes] = []
    for pair in pairs:
        for text in pair:
            parts.append(len(text).to_bytes(4, "big"))
            parts.append(text)
    return b"".join(parts)
