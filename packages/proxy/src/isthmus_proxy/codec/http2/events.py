"""What a codec tells its owner about streams and the connection, in the order in which it happened."""

from __future__ import annotations

from typing import TypeAlias

from isthmus_proxy.codec.http2.header_block import Fields, HeaderBlock
from isthmus_proxy.codec.http2.stream import Stream


class HeadersReceived:
    """A message head; informational ones have a status below 200. ``end``: it is the whole message."""

    __slots__ = ("block", "end", "stream")

    def __init__(self, stream: Stream, block: HeaderBlock, end: bool) -> None:
        self.stream = stream
        self.block = block
        self.end = end


class DataReceived:
    """Body bytes, without padding; empty only with ``end``."""

    __slots__ = ("data", "end", "stream")

    def __init__(self, stream: Stream, data: bytes, end: bool) -> None:
        self.stream = stream
        self.data = data
        self.end = end


class TrailersReceived:
    """Trailers, which end the message."""

    __slots__ = ("fields", "stream")

    def __init__(self, stream: Stream, fields: Fields) -> None:
        self.stream = stream
        self.fields = fields


class StreamReset:
    """The stream is over before its time. ``remote``: the peer reset it, else the codec did, for ``detail``.

    ``refused``: the peer has certainly not acted on the request (RFC 9113, 8.7).
    """

    __slots__ = ("code", "detail", "refused", "remote", "stream")

    def __init__(self, stream: Stream, code: int, *, remote: bool, refused: bool = False, detail: str = "") -> None:
        self.stream = stream
        self.code = code
        self.remote = remote
        self.refused = refused
        self.detail = detail


class StreamWritable:
    """What waited on the stream has been sent (or framed)."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class GoawayReceived:
    """The peer serves no more than stream ``last_stream_id``."""

    __slots__ = ("code", "debug", "last_stream_id")

    def __init__(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.last_stream_id = last_stream_id
        self.code = code
        self.debug = debug


class SettingsReceived:
    """The peer's settings have been applied."""

    __slots__ = ()


class PingAcknowledged:
    """The peer answered a ping."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


Event: TypeAlias = (
    HeadersReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | StreamWritable
    | GoawayReceived
    | SettingsReceived
    | PingAcknowledged
)
