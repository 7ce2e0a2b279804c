"""As much of Hessian 2.0 (hessian.caucho.com, draft of 2007) as it takes to read strings and to step over everything else.

Strings count UTF-16 units, not bytes. Definitions of classes are needed to step over objects; references are not followed.
"""

from __future__ import annotations

from typing import Final

from isthmus_proxy.codec.rpc import Unreadable

MAX_DEPTH: Final = 64
"""Values inside values: an application's arguments are not nested like that, and a request must not use up the stack."""

_FIXED: Final = {
    **dict.fromkeys(b"FNT\x5b\x5c", 1),
    **dict.fromkeys(range(0x80, 0xC0), 1),
    **dict.fromkeys(range(0xC0, 0xD0), 2),
    **dict.fromkeys(range(0xD0, 0xD8), 3),
    **dict.fromkeys(range(0xD8, 0xF0), 1),
    **dict.fromkeys(range(0xF0, 0x100), 2),
    **dict.fromkeys(range(0x38, 0x40), 3),
    ord("D"): 9,
    ord("I"): 5,
    ord("L"): 9,
    0x4A: 9,
    0x4B: 5,
    0x59: 5,
    0x5D: 2,
    0x5E: 3,
    0x5F: 5,
}
"""Sizes of values whose first byte tells them."""


def string_end(data: bytes, position: int, limit: int) -> int:
    """The end of the string of up to 1023 units at ``position``; -1 if there is none, or it is not ASCII. Cheap."""
    if position >= limit:
        return -1
    code = data[position]
    if code < 0x20:
        end = position + 1 + code
    elif 0x30 <= code < 0x34 and position + 1 < limit:
        end = position + 2 + (code - 0x30 << 8) + data[position + 1]
    else:
        return -1
    return end if end <= limit and data[position:end].isascii() else -1


class Reader:
    """Goes through the values of ``data`` up to ``end``. Every method raises Unreadable where it cannot go on."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self._end = end
        self._fields: list[int] = []

    def string(self) -> bytes | None:
        """The string that comes next, in UTF-8; None for null."""
        if self._code() == ord("N"):
            self.position += 1
            return None
        parts = []
        while True:
            part, last = self._chunk()
            parts.append(part)
            if last:
                return b"".join(parts)

    def strings(self) -> list[tuple[bytes, bytes]]:
        """The pairs of the map that comes next whose name and value are strings, or numbers and truth values as text."""
        code = self._take()
        if code == ord("N"):
            return []
        if code == ord("M"):
            self._type()
        elif code != ord("H"):
            raise Unreadable(f"a value {code:#04x} stands where a map was expected")
        pairs = []
        while self._code() != ord("Z"):
            name, value = self._text(), self._text()
            if name is not None and value is not None:
                pairs.append((name, value))
        self.position += 1
        return pairs

    def skip(self, depth: int = 0) -> None:
        """Step over the value that comes next."""
        if depth > MAX_DEPTH:
            raise Unreadable(f"values are nested more than {MAX_DEPTH} deep")
        code = self._code()
        size = _FIXED.get(code)
        if size is not None:
            self._advance(size)
        elif _is_string(code):
            self.string()
        elif code in (ord("A"), ord("B")) or 0x20 <= code < 0x30 or 0x34 <= code < 0x38:
            self._binary()
        else:
            self._skip_compound(self._take(), depth + 1)

    def _skip_compound(self, code: int, depth: int) -> None:
        if code == ord("C"):
            self._type()
            count = self._integer()
            for _ in range(count):
                self.string()
            self._fields.append(count)
            self.skip(depth)
        elif code == ord("O") or 0x60 <= code < 0x70:
            number = self._integer() if code == ord("O") else code - 0x60
            if not 0 <= number < len(self._fields):
                raise Unreadable(f"an object is of class {number}, which is not defined")
            self._skip_many(self._fields[number], depth)
        elif code == ord("Q"):
            self._integer()
        elif code in (ord("M"), ord("U"), ord("H"), 0x57):
            if code in (ord("M"), ord("U")):
                self._type()
            while self._code() != ord("Z"):
                self.skip(depth)
            self.position += 1
        elif code in (ord("V"), 0x58) or 0x70 <= code < 0x80:
            if code == ord("V") or 0x70 <= code < 0x78:
                self._type()
            self._skip_many(self._integer() if code in (ord("V"), 0x58) else code & 7, depth)
        else:
            raise Unreadable(f"no value begins with {code:#04x}")

    def _skip_many(self, count: int, depth: int) -> None:
        if count < 0 or count > self._end - self.position:  # each takes a byte at least
            raise Unreadable(f"{count} values do not fit into what is left")
        for _ in range(count):
            self.skip(depth)

    def _text(self) -> bytes | None:
        code = self._code()
        if _is_string(code):
            return self.string()
        if code in (ord("T"), ord("F")):
            self.position += 1
            return b"true" if code == ord("T") else b"false"
        if 0x80 <= code < 0xD8 or code == ord("I"):
            return b"%d" % self._integer()
        self.skip(1)
        return None

    def _code(self) -> int:
        if self.position >= self._end:
            raise Unreadable("the body ends inside a value")
        return self.data[self.position]

    def _take(self) -> int:
        code = self._code()
        self.position += 1
        return code

    def _advance(self, size: int) -> int:
        start = self.position
        self.position += size
        if self.position > self._end:
            raise Unreadable("the body ends inside a value")
        return start

    def _number(self, size: int, *, signed: bool = False) -> int:
        start = self._advance(size)
        return int.from_bytes(self.data[start : start + size], "big", signed=signed)

    def _integer(self) -> int:
        code = self._take()
        if 0x80 <= code < 0xC0:
            return code - 0x90
        if 0xC0 <= code < 0xD0:
            return (code - 0xC8 << 8) + self._number(1)
        if 0xD0 <= code < 0xD8:
            return (code - 0xD4 << 16) + self._number(2)
        if code == ord("I"):
            return self._number(4, signed=True)
        raise Unreadable(f"a value {code:#04x} stands where an integer was expected")

    def _type(self) -> None:
        """The name of a type, or the number of one that came before."""
        if _is_string(self._code()):
            self.string()
        else:
            self._integer()

    def _chunk(self) -> tuple[bytes, bool]:
        code = self._take()
        last = True
        if code < 0x20:
            units = code
        elif 0x30 <= code < 0x34:
            units = (code - 0x30 << 8) + self._number(1)
        elif code in (ord("S"), ord("R")):
            units, last = self._number(2), code == ord("S")
        else:
            raise Unreadable(f"a value {code:#04x} stands where a string was expected")
        start = self.position
        piece = self.data[start : start + units]
        if piece.isascii():
            self._advance(units)
            return piece, last
        while units > 0:
            first = self._code()
            size = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            self._advance(size)
            units -= 2 if size == 4 else 1
        return self.data[start : self.position], last

    def _binary(self) -> None:
        while True:
            code = self._take()
            if 0x20 <= code < 0x30:
                self._advance(code - 0x20)
                return
            if 0x34 <= code < 0x38:
                self._advance((code - 0x34 << 8) + self._number(1))
                return
            if code not in (ord("A"), ord("B")):
                raise Unreadable(f"a value {code:#04x} stands where more bytes were expected")
            self._advance(self._number(2))
            if code == ord("B"):
                return


def _is_string(code: int) -> bool:
    return code < 0x20 or 0x30 <= code < 0x34 or code in (ord("S"), ord("R"))


def write_string(text: bytes) -> bytes:
    """``text``, which is UTF-8, as a value."""
    units = len(text.decode("utf-8", "replace").encode("utf-16-be")) // 2
    if units < 0x20:
        return bytes([units]) + text
    if units < 0x400:
        return bytes([0x30 + (units >> 8), units & 0xFF]) + text
    if units > 0xFFFF:
        raise Unreadable("a text of more than 65535 characters cannot be written")
    return b"S" + units.to_bytes(2, "big") + text


def write_map(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A map of strings without a type."""
    return b"H" + b"".join(write_string(name) + write_string(value) for name, value in pairs) + b"Z"
