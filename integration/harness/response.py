"""Reads HTTP/1.1 responses to GET, one at a time, as little as a load client needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Response:
    """What a load client wants to know about an answer."""

    status: int
    version: str
    """The header ``x-version``, empty when absent: then no origin answered."""
    instance: str
    close: bool
    text: str
    """The start of the body."""
    size: int


class ResponseReader:
    """Push bytes in; a :class:`Response` comes out when one is complete. Raises ValueError for what is none."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: bytes | None = None
        self._body = bytearray()
        self._size = 0
        self._left: int | None = None
        self._chunked = False
        self._last_chunk = False

    def receive(self, data: bytes) -> Response | None:
        """Take bytes; return the response when it is complete."""
        self._buffer += data
        while self._head is None:
            if not self._read_head():
                return None
        if not self._read_body():
            return None
        if self._buffer:
            raise ValueError(f"bytes after the end of the response: {bytes(self._buffer[:40])!r}")
        return self._finish()

    def end(self) -> Response | None:
        """The connection is closed: the response when its body is delimited by that."""
        if self._head is not None and self._left is None and not self._chunked:
            return self._finish(close=True)
        return None

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        del self._buffer[: end + 4]
        if not head.startswith((b"http/1.1 ", b"http/1.0 ")):
            raise ValueError(head[:40])
        if head[9:10] == b"1":
            return True  # an interim response: read on
        self._head = head
        self._chunked = b"chunked" in header(head, b"transfer-encoding")
        length = header(head, b"content-length")
        if head[9:12] in {b"204", b"304"}:
            self._left = 0
        elif not self._chunked:
            self._left = int(length) if length else None
        return True

    def _read_body(self) -> bool:
        if not self._chunked:
            return self._take(self._left)
        while True:
            if self._left and not self._take(self._left):
                return False
            line, found, _ = self._buffer.partition(b"\r\n")
            if not found:
                return False
            del self._buffer[: len(line) + 2]
            if self._last_chunk:
                if not line:
                    return True
            elif line:
                self._left = int(line.split(b";")[0], 16)
                self._last_chunk = self._left == 0

    def _take(self, left: int | None) -> bool:
        """Take body bytes; whether all of them are here."""
        taken = self._buffer[: len(self._buffer) if left is None else left]
        del self._buffer[: len(taken)]
        self._size += len(taken)
        if len(self._body) < 200:
            self._body += taken[:200]
        if left is None:
            return False
        self._left = left - len(taken)
        return self._left == 0

    def _finish(self, *, close: bool = False) -> Response:
        head = self._head or b""
        response = Response(
            status=int(head[9:12]),
            version=header(head, b"x-version").decode(),
            instance=header(head, b"x-instance").decode(),
            close=close or b"close" in header(head, b"connection"),
            text=bytes(self._body).decode(errors="replace").strip(),
            size=self._size,
        )
        self._head, self._body, self._size = None, bytearray(), 0
        self._left, self._chunked, self._last_chunk = None, False, False
        return response


def header(head: bytes, name: bytes) -> bytes:
    """The value of a header in a lower-case head, empty when absent."""
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()
