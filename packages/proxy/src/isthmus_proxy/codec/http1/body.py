"""Body decoders: bytes of the wire in, payload out. Each stops at the end of its body and leaves what follows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from isthmus_proxy.codec.http1.grammar import Fields, bad_request, parse_fields
from isthmus_proxy.codec.http1.limits import HeadLimits
from isthmus_proxy.errors import ProtocolError

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_MAX_SIZE_LINE = 4096
"""Longest chunk-size line taken: room for any extension seen in practice, all of which are dropped."""


class BodyDecoder(Protocol):
    """One body being read. ``done`` turns true at its end."""

    done: bool
    trailers: tuple[tuple[bytes, bytes], ...]

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """Decode ``data[start:]``: (payload, where the body's bytes in ``data`` end)."""
        ...


class LengthDecoder:
    """A body of ``remaining`` bytes."""

    __slots__ = ("done", "remaining", "trailers")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """Take up to ``remaining`` bytes."""
        end = min(len(data), start + self.remaining)
        self.remaining -= end - start
        self.done = self.remaining == 0
        return (data if end - start == len(data) else data[start:end]), end


class CloseDecoder:
    """A body that ends with the connection; the parser sets ``done`` at its end."""

    __slots__ = ("done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """Take everything."""
        return (data[start:] if start else data), len(data)


class ChunkedDecoder:
    """The chunked transfer coding (RFC 9112, 7.1). Extensions are checked and dropped, trailers collected."""

    __slots__ = ("_limits", "_line", "_read", "_remaining", "_trailer_lines", "_trailer_size", "done", "trailers")

    def __init__(self, limits: HeadLimits) -> None:
        self.done = False
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()
        self._limits = limits
        self._line = b""
        self._remaining = 0
        self._trailer_lines: list[bytes] = [b""]
        self._trailer_size = 0
        self._read: Callable[[bytes, int, list[bytes]], int] = self._read_size

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """Decode as many chunks, whole or in part, as there are."""
        pieces: list[bytes] = []
        position, end = start, len(data)
        while position < end and not self.done:
            position = self._read(data, position, pieces)
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), position

    def _line_end(self, data: bytes, position: int, limit: int) -> int:
        """Move the bytes up to the next LF into ``_line``; answer where they end. The line is complete if it ends in LF."""
        newline = data.find(b"\n", position)
        end = newline + 1 if newline >= 0 else len(data)
        self._line += data[position:end]
        if len(self._line) > limit:
            raise bad_request("line of a chunked body too long")
        return end

    def _read_size(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        end = self._line_end(data, position, _MAX_SIZE_LINE)
        if self._line[-1] == 0x0A:
            match = _SIZE_LINE.fullmatch(self._line)
            if match is None:
                raise bad_request(f"malformed chunk size {self._line[:64]!r}")
            self._line = b""
            self._remaining = int(match[1], 16)
            self._read = self._read_data if self._remaining else self._read_trailer
        return end

    def _read_data(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        end = min(len(data), position + self._remaining)
        pieces.append(data[position:end])
        self._remaining -= end - position
        if self._remaining == 0:
            self._read = self._read_data_end
        return end

    def _read_data_end(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        end = min(len(data), position + 2 - len(self._line))
        self._line += data[position:end]
        if not b"\r\n".startswith(self._line):
            raise bad_request("chunk data not followed by CRLF")
        if len(self._line) == 2:
            self._line = b""
            self._read = self._read_size
        return end

    def _read_trailer(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        end = self._line_end(data, position, self._limits.max_bytes)
        if self._line[-1] != 0x0A:
            return end
        line, self._line = self._line, b""
        self._trailer_size += len(line)
        if self._trailer_size > self._limits.max_bytes:
            raise ProtocolError(431, "http1.trailers_too_large", "trailers too large")
        if line == b"\r\n":
            self.trailers = tuple(self._trailers())
            self.done = True
        elif len(line) < 2 or line[-2] != 0x0D or b"\r" in line[:-2]:
            raise bad_request("malformed trailer line")
        else:
            self._trailer_lines.append(line[:-2])
        return end

    def _trailers(self) -> Fields:
        fields, _ = parse_fields(self._trailer_lines, self._limits.max_headers)
        for _, value in fields:
            if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value):
                raise bad_request("control character in a trailer")
        return fields
