"""Server name and protocols from the first bytes of a connection, if they are a TLS ClientHello (RFC 8446, section 4.1.2). Pure.

Nothing is kept between two calls: whoever peeks at a socket has all bytes each time, and a call with too few answers at
once, without looking at what came before.
"""

from __future__ import annotations

from dataclasses import dataclass

HANDSHAKE = 0x16
_CLIENT_HELLO = 1
_MAX_RECORD = 16384
_HEADER = 5
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client asks for; ``server_name`` is in lower case and empty without the extension."""

    server_name: str = ""
    application_protocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incomplete:
    """So far this is a ClientHello. ``handshake_bytes`` is its length, 0 while that is not known."""

    handshake_bytes: int = 0


class NotTls(Exception):  # noqa: N818 - not an error: most protocols are no TLS
    """These bytes do not begin a TLS connection."""


def read_client_hello(data: bytes) -> ClientHello | Incomplete:
    """Parse ``data``, everything that was received so far. Raises NotTls; bytes behind the message are not looked at."""
    message = bytearray()
    at = 0
    while True:
        fragment = _fragment(data, at)
        if fragment is None:
            return Incomplete(_length(message) if len(message) >= 4 else _peeked_length(message, data[at:]))
        message += fragment
        at += _HEADER + len(fragment)
        if message[0] != _CLIENT_HELLO:
            raise NotTls
        if len(message) >= 4 and len(message) >= 4 + _length(message):
            return _parse(bytes(message[4 : 4 + _length(message)]))


def _fragment(data: bytes, at: int) -> bytes | None:
    """The payload of the record at ``at``; None until all of it is there."""
    header = data[at : at + _HEADER]
    if header and (header[0] != HANDSHAKE or (len(header) > 1 and header[1] != 3)):
        raise NotTls
    if len(header) < _HEADER:
        return None
    size = int.from_bytes(header[3:5])
    if not 0 < size <= _MAX_RECORD:
        raise NotTls
    if len(data) > at + _HEADER and at == 0 and data[_HEADER] != _CLIENT_HELLO:
        raise NotTls
    payload = data[at + _HEADER : at + _HEADER + size]
    return payload if len(payload) == size else None


def _length(message: bytes | bytearray) -> int:
    return int.from_bytes(message[1:4])


def _peeked_length(message: bytes | bytearray, rest: bytes) -> int:
    """The length of a message whose head is in the record that is not complete yet."""
    head = bytes(message) + rest[_HEADER:]
    return _length(head) if len(head) >= 4 else 0


class _Reader:
    """Takes fields off a byte string. Raises NotTls when there is less than a field says."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise NotTls
        self._at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, prefix: int) -> bytes:
        """A vector that begins with its length in ``prefix`` bytes."""
        return self.take(self.number(prefix))


def _parse(body: bytes) -> ClientHello:
    reader = _Reader(body)
    reader.take(2 + 32)  # legacy_version, random
    reader.vector(1)  # legacy_session_id
    suites = reader.vector(2)
    compression = reader.vector(1)
    if not suites or len(suites) % 2 or not compression:
        raise NotTls
    if not reader.left:
        return ClientHello()  # before TLS 1.2 a hello may end here
    extensions = _Reader(reader.vector(2))
    if reader.left:
        raise NotTls
    return _parse_extensions(extensions)


def _parse_extensions(extensions: _Reader) -> ClientHello:
    server_name, protocols = "", ()  # type: str, tuple[str, ...]
    seen: set[int] = set()
    while extensions.left:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise NotTls  # RFC 8446, section 4.2: no extension twice
        seen.add(kind)
        if kind == _SERVER_NAME:
            server_name = _server_name(content)
        elif kind == _ALPN:
            protocols = _protocols(content)
    return ClientHello(server_name, protocols)


def _server_name(content: bytes) -> str:
    """RFC 6066, section 3."""
    reader = _Reader(_Reader(content).vector(2))
    kind = reader.number(1)
    name = reader.vector(2)
    if kind != _HOST_NAME or reader.left or not 0 < len(name) <= 255 or b"\0" in name:
        raise NotTls
    return name.decode("latin-1").lower()


def _protocols(content: bytes) -> tuple[str, ...]:
    """RFC 7301, section 3.1."""
    reader = _Reader(_Reader(content).vector(2))
    found: list[str] = []
    while reader.left:
        found.append(reader.vector(1).decode("latin-1"))
    if not found or "" in found:
        raise NotTls
    return tuple(found)
