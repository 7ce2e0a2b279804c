"""A strict reader of HTTP/1.1 messages, written for this corpus alone: what it takes has one meaning only. Pure.

It shares nothing with the proxy's codec. It takes less than RFC 9112 allows: no folded lines, no chunk extensions, no
repeated or decorated lengths, no transfer coding but ``chunked``. A proxy has no reason to send any of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) (HTTP/1\.1)")
_STATUS_LINE = re.compile(rb"(HTTP/1\.1) ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff]+(?:[ \t]+[\x21-\x7e\x80-\xff]+)*)?)[ \t]*")
_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]@]*")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_EOL = b"\r\n"

Fields = tuple[tuple[bytes, bytes], ...]


class AmbiguousError(ValueError):
    """Bytes that two readers could understand in two ways."""


@dataclass(frozen=True, slots=True)
class Message:
    """A complete message. ``start`` is (method, target, version) or (version, status, reason); names are lower case."""

    start: tuple[bytes, bytes, bytes]
    headers: Fields
    body: bytes
    trailers: Fields = ()

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.start[1])


def read_request(data: bytes, start: int = 0) -> tuple[Message, int] | None:
    """The request that begins at ``start`` and where it ends; None while it is not complete. Raises AmbiguousError."""
    found = _head(data, start)
    if found is None:
        return None
    line, headers, position = found
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise AmbiguousError(f"request line {line[:80]!r}")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise AmbiguousError(f"hosts {hosts!r}")
    body = _body(data, position, headers, otherwise=0)
    return None if body is None else (Message(_parts(match), headers, *body[:2]), body[2])


def read_response(
    data: bytes, start: int = 0, *, method: bytes = b"GET", eof: bool = False
) -> tuple[Message, int] | None:
    """The response to ``method`` that begins at ``start``; ``eof`` says that nothing follows ``data``."""
    found = _head(data, start)
    if found is None:
        return None
    line, headers, position = found
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise AmbiguousError(f"status line {line[:80]!r}")
    status = int(match[2])
    if status < 200 or status in (204, 304) or method == b"HEAD":
        _framing(headers)
        if status < 200 or status == 204:
            _forbid_framing(status, headers)
        return Message(_parts(match), headers, b""), position
    body = _body(data, position, headers, otherwise=len(data) - position if eof else None)
    return None if body is None else (Message(_parts(match), headers, *body[:2]), body[2])


def _parts(match: re.Match[bytes]) -> tuple[bytes, bytes, bytes]:
    return match[1], match[2], match[3]


def _forbid_framing(status: int, headers: Fields) -> None:
    """RFC 9112, 6.1 and RFC 9110, 8.6: neither field in a 1xx or 204."""
    for name, _ in headers:
        if name in (b"transfer-encoding", b"content-length"):
            raise AmbiguousError(f"{name!r} in a response of status {status}")


def _head(data: bytes, start: int) -> tuple[bytes, Fields, int] | None:
    end = data.find(b"\r\n\r\n", start)
    lines = data[start : end if end >= 0 else len(data)].split(_EOL)
    for line in lines if end >= 0 else lines[:-1]:
        if b"\r" in line or b"\n" in line:
            raise AmbiguousError(f"CR or LF outside of a CRLF: {line[:80]!r}")
    if end < 0:
        if b"\n" in lines[-1]:
            raise AmbiguousError(f"LF without CR: {lines[-1][:80]!r}")
        return None
    return lines[0], _fields(lines[1:]), end + 4


def _fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise AmbiguousError(f"field line {line[:80]!r}")
        fields.append((match[1].lower(), match[2]))
    return tuple(fields)


def _framing(headers: Fields) -> int | None:
    """-1 for chunked, the length, or None. Raises AmbiguousError unless exactly one of them says so, once."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if lengths and codings:
        raise AmbiguousError("both content-length and transfer-encoding")
    if codings:
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise AmbiguousError(f"transfer-encoding {codings!r}")
        return -1
    if lengths:
        if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            raise AmbiguousError(f"content-length {lengths!r}")
        return int(lengths[0])
    return None


def _body(data: bytes, position: int, headers: Fields, otherwise: int | None) -> tuple[bytes, Fields, int] | None:
    """Body, trailers and where they end; ``otherwise`` is the length of a body that no field delimits."""
    length = _framing(headers)
    if length == -1:
        return _chunks(data, position)
    length = otherwise if length is None else length
    if length is None or len(data) - position < length:
        return None
    return data[position : position + length], (), position + length


def _chunks(data: bytes, position: int) -> tuple[bytes, Fields, int] | None:
    body = b""
    while True:
        end = data.find(b"\n", position)
        if end < 0:
            return None
        line = data[position : end + 1]
        if not line.endswith(_EOL) or not _CHUNK_SIZE.fullmatch(line[:-2]):
            raise AmbiguousError(f"chunk size {line[:80]!r}")
        size, position = int(line[:-2], 16), end + 1
        if size == 0:
            return _trailers(data, position, body)
        if len(data) < position + size + 2:
            return None
        body += data[position : position + size]
        position += size + 2
        if data[position - 2 : position] != _EOL:
            raise AmbiguousError(f"chunk ends in {data[position - 2 : position]!r}")


def _trailers(data: bytes, position: int, body: bytes) -> tuple[bytes, Fields, int] | None:
    if data.startswith(_EOL, position):
        return body, (), position + 2
    end = data.find(b"\r\n\r\n", position)
    return None if end < 0 else (body, _fields(data[position:end].split(_EOL)), end + 4)
