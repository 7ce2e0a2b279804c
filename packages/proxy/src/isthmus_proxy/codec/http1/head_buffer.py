"""Finds the end of a head in bytes that come in pieces, and notices at once what can never become a valid head."""

from __future__ import annotations

import re

from isthmus_proxy.codec.http1.grammar import bad_request
from isthmus_proxy.codec.http1.limits import HeadLimits
from isthmus_proxy.errors import ProtocolError

_BARE_LF = re.compile(rb"(?<!\r)\n")
_MAX_EMPTY_LINES = 4


class HeadBuffer:
    """Gathers bytes until a whole head is there."""

    __slots__ = ("_buffer", "_limits", "_scanned", "_skipped", "_status")

    def __init__(self, limits: HeadLimits, too_large_status: int) -> None:
        self._buffer = bytearray()
        self._limits = limits
        self._scanned = 0
        self._skipped = 0
        self._status = too_large_status

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Add ``data``; answer (head, what follows it) once the head is complete. Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        self._skip_empty_lines()
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            self._check_partial()
            self._scanned = len(buffer)
            return None
        end += 4
        self._check_size(end)
        head, rest = bytes(buffer[:end]), bytes(buffer[end:])
        buffer.clear()
        self._scanned = self._skipped = 0
        return head, rest

    def _skip_empty_lines(self) -> None:
        """Drop empty lines before a message (RFC 9112, 2.2), a few."""
        while not self._scanned and self._buffer.startswith(b"\r\n"):
            self._skipped += 1
            if self._skipped > _MAX_EMPTY_LINES:
                raise bad_request("too many empty lines before a message")
            del self._buffer[:2]

    def _check_partial(self) -> None:
        self._check_size(len(self._buffer))
        if _BARE_LF.search(self._buffer, max(0, self._scanned - 1)):
            raise bad_request("LF without CR in the head")

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            message = f"head of more than {self._limits.max_bytes} bytes"
            raise ProtocolError(self._status, "http1.headers_too_large", message)
