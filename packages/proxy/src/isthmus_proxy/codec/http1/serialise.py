"""Heads and chunks in their one canonical form."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

LAST_CHUNK = b"0\r\n\r\n"
"""End of a chunked body without trailers."""

_NOT_IN_TRAILERS = frozenset(
    {
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that say how a message is framed or where it goes; no recipient may take them from trailers (RFC 9110, 6.5.1)."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Payload Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Entity",
}
for _status in (103, 418):  # Envoy has no phrase for these
    del _REASONS[_status]
_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n".encode() for status, reason in _REASONS.items()}


def status_line(status: int, version: bytes = b"HTTP/1.1") -> bytes:
    """``HTTP/1.1 200 OK`` with its CRLF; a status without a registered phrase is called Unknown, as Envoy calls it."""
    line = _LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status
    return line if version == b"HTTP/1.1" else version + line[8:]


def reason_phrase(status: int) -> str:
    """The registered phrase of ``status``, or Unknown."""
    return _REASONS.get(status, "Unknown")


def field_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """All header lines, without the empty line after them."""
    return b"".join([b"%b: %b\r\n" % field for field in headers])


def request_head(method: bytes, path: bytes, authority: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole request head; host comes first. Without a path the target is the authority, as CONNECT has it."""
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method, path or authority, authority, field_lines(headers))


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]], version: bytes = b"HTTP/1.1") -> bytes:
    """A whole response head."""
    return b"%b%b\r\n" % (status_line(status, version), field_lines(headers))


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body with ``trailers``, without those that a trailer section must not have."""
    return b"0\r\n%b\r\n" % field_lines([field for field in trailers if field[0] not in _NOT_IN_TRAILERS])


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk. It must not be empty: that would be the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
