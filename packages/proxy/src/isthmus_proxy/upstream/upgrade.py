"""What a request asks to become: a tunnel of bytes, or of a protocol such as WebSocket, over HTTP/1.1 or over HTTP/2."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1

CONNECT = b"CONNECT"
WEBSOCKET = b"websocket"
KEY, ACCEPT = b"sec-websocket-key", b"sec-websocket-accept"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upgrade:
    """``protocol`` is that of the Upgrade header or of ``:protocol``, CONNECT for bytes. ``key`` is the client's sec-websocket-key."""

    __slots__ = ("key", "protocol")

    def __init__(self, protocol: bytes, key: bytes) -> None:
        self.protocol = protocol
        self.key = key


def accept_for(key: bytes) -> bytes:
    """The sec-websocket-accept that answers ``key`` (RFC 6455, 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def fresh_key(getrandbits: Callable[[int], int]) -> bytes:
    """A sec-websocket-key for a client that needs none, since it speaks HTTP/2 (RFC 8441, 5)."""
    return b64encode(getrandbits(128).to_bytes(16, "big"))
