"""From HEADERS and CONTINUATION frames to decoded header blocks (RFC 9113, 4.3, 6.2, 6.10)."""

from __future__ import annotations

from isthmus_proxy.codec.http2 import frames
from isthmus_proxy.codec.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR, Http2ConnectionError
from isthmus_proxy.codec.http2.flood import FloodGuard
from isthmus_proxy.codec.http2.header_block import BlockMemo, HeaderBlock
from isthmus_proxy.codec.http2.hpack_decoder import HpackDecoder, too_large
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.stats import Http2Stats


class HeaderAssembly:
    """Puts one block together at a time; ``stream_id`` is its stream, 0 while none is unfinished.

    Once a block is complete ``end_stream`` tells whether its stream ends with it, and ``self_dependent`` whether its priority
    names its own stream.
    """

    __slots__ = (
        "_flood",
        "_fragments",
        "_frames",
        "_limit",
        "_stats",
        "decoder",
        "end_stream",
        "self_dependent",
        "stream_id",
    )

    def __init__(self, options: Http2Options, stats: Http2Stats, flood: FloodGuard, memo: BlockMemo) -> None:
        self._stats = stats
        self._flood = flood
        self.decoder = HpackDecoder(memo, options.max_list_size, options.max_fields, options.hpack_table_size)
        self._limit = (
            4 * options.max_list_size
        )  # a Huffman code has at most 30 bits, so no list within the limit is longer
        self._fragments: list[bytes] = []
        self._frames = 0
        self.stream_id = 0
        self.end_stream = False
        self.self_dependent = False

    def headers(self, flags: int, stream_id: int, payload: bytes) -> HeaderBlock | None:
        """Take the payload of a HEADERS frame; answer the block if that is all of it."""
        self.self_dependent = False
        if flags & (frames.PADDED | frames.PRIORITY_FLAG):
            payload = self._unwrap(flags, stream_id, payload)
        self.end_stream = flags & frames.END_STREAM != 0
        if payload or self.end_stream:
            self._flood.payload()
        else:
            self._flood.empty_frame()
        if flags & frames.END_HEADERS:
            return self.decoder.decode(payload)
        self.stream_id = stream_id
        self._fragments = [payload]
        self._frames = 0
        return None

    def _unwrap(self, flags: int, stream_id: int, payload: bytes) -> bytes:
        """The fragment in a HEADERS payload, without padding and priority."""
        if flags & frames.PADDED:
            payload = unpadded(payload)
        if flags & frames.PRIORITY_FLAG:
            if len(payload) < 5:
                raise Http2ConnectionError(FRAME_SIZE_ERROR, "HEADERS too short for their priority")
            self.self_dependent = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id
            payload = payload[5:]
        return payload

    def continuation(self, flags: int, payload: bytes) -> HeaderBlock | None:
        """Take the payload of a CONTINUATION frame of the unfinished block; answer the block once it is complete."""
        if self.stream_id == 0:
            raise Http2ConnectionError(PROTOCOL_ERROR, "CONTINUATION without a header block")
        if payload:
            self._flood.payload()
        else:
            self._flood.empty_frame()
        self._frames += 1
        self._flood.continuation(self._frames)
        fragments = self._fragments
        fragments.append(payload)
        if sum(map(len, fragments)) > self._limit:
            self._stats.header_overflow.value += 1
            raise too_large(self._limit)
        if not flags & frames.END_HEADERS:
            return None
        self.stream_id = 0
        self._fragments = []
        return self.decoder.decode(b"".join(fragments))


def unpadded(payload: bytes) -> bytes:
    """The content of a padded DATA or HEADERS payload (RFC 9113, 6.1)."""
    if not payload:
        raise Http2ConnectionError(FRAME_SIZE_ERROR, "a padded frame without its pad length")
    padding = payload[0]
    if padding >= len(payload):
        raise Http2ConnectionError(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]
