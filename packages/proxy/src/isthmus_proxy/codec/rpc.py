"""What every codec of an RPC protocol offers: frames of a read with their offsets, and the few bytes a proxy makes itself.

A codec is pure and keeps no state of a connection. A frame is a plain tuple, since there is one for each request and each
response of the data path; nothing of it is copied out of the bytes that were read.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct
from typing import Final, Protocol

REQUEST: Final = 0
RESPONSE: Final = 1
ONE_WAY: Final = 2
HEARTBEAT: Final = 3
HEARTBEAT_REPLY: Final = 4
GOAWAY: Final = 5
SEALED: Final = 8
"""Added to a kind: a check sum covers the frame, so that its identifier has to be changed with ``RpcCodec.set_id``."""

Frame = tuple[int, int, int, int, int, int, int, int, int]
"""(kind, start, end, identifier, offset of the identifier, start and end of the routing key, extra, form).

``extra`` is the time-out of a request in milliseconds (0 or less: none) or the status of a response. ``form`` is what an answer
made here has to repeat of a request besides its identifier (version, serialisation). The routing key is the range of bytes that
names service, method and headers, as far as a codec can tell it cheaply.
"""

Split = tuple[list[Frame], int, int]
"""(frames, offset behind the last of them, bytes that the next frame has in all or 0 while that is not known)."""

Field = tuple[bytes, int, int]
"""(name, start of the value, its end), offsets into the routing key."""


class RpcProtocolError(Exception):
    """Bytes that are no frame, or a frame beyond a limit. ``identifier`` and ``form`` of the request, if it has any, for an answer."""

    def __init__(self, reason: str, identifier: int | None = None, form: int = 0) -> None:
        super().__init__(reason)
        self.identifier = identifier
        self.form = form


class Unreadable(Exception):  # noqa: N818 - not a failure of the connection: the frame as such is sound
    """A request whose service or method cannot be read."""


class RpcRequest:
    """Service, method and headers of one request, read when a route needs them. Names are as on the wire."""

    __slots__ = ("headers", "method", "service")

    def __init__(self, service: bytes, method: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.service = service
        self.method = method
        self.headers = headers


class RpcCodec(Protocol):
    """One protocol. ``success`` is the status of a response without error.

    ``id_format`` writes an identifier, ``id_mask`` is the greatest one. ``routing_names`` are the headers that may hold service
    and method.
    """

    name: str
    success: int
    id_format: Struct
    id_mask: int
    routing_names: frozenset[bytes]

    def detect(self, data: bytes) -> bool | None:
        """Whether a connection that begins with ``data`` speaks this protocol; None: more bytes may tell."""

    def split(self, data: bytes, max_frame_bytes: int) -> Split:
        """The whole frames at the beginning of ``data``. Raises RpcProtocolError if its first frame is none, or too long.

        What is wrong with a later frame is raised once the frames before it are taken off.
        """

    def read(self, data: bytes, frame: Frame) -> RpcRequest:
        """Service, method and headers of a request. Raises Unreadable."""

    def fields(self, key: bytes) -> list[Field] | None:
        """Where the values of a routing key are; None if it cannot be taken apart, or does not hold everything that is read."""

    def key_holds(self, names: Collection[bytes]) -> bool:
        """Whether routing keys say all there is to know of the headers ``names`` (lower case)."""

    def set_id(self, frame: bytes, identifier: int) -> bytes:
        """``frame`` with another identifier, check sums included."""

    def with_headers(self, frame: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """A request with other headers. Raises Unreadable where the protocol cannot carry them."""

    def heartbeat(self, identifier: int, form: int) -> bytes:
        """A heartbeat to send."""

    def heartbeat_reply(self, frame: bytes) -> bytes:
        """The answer to a heartbeat."""

    def error(self, identifier: int, form: int, status: int, message: str) -> bytes:
        """The answer to a request of that form that stands for the HTTP status ``status``."""

    def goaway(self, form: int) -> bytes:
        """What asks the peer to send no more requests; empty if the protocol has no such frame."""

    def http_status(self, status: int) -> int:
        """The HTTP status that stands for the status of a response, for stats, retries and outlier detection."""
