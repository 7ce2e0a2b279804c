"""Frames as bytes (RFC 9113, 4 and 6): types, flags, and the ones that the codec writes."""

from __future__ import annotations

import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113, 3.4)."""

HEADER_BYTES = 9
MAX_WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = 65535
MIN_FRAME_SIZE = 16384
MAX_FRAME_SIZE = (1 << 24) - 1

SETTINGS_HEADER_TABLE_SIZE = 0x1
SETTINGS_ENABLE_PUSH = 0x2
SETTINGS_MAX_CONCURRENT_STREAMS = 0x3
SETTINGS_INITIAL_WINDOW_SIZE = 0x4
SETTINGS_MAX_FRAME_SIZE = 0x5
SETTINGS_MAX_HEADER_LIST_SIZE = 0x6
SETTINGS_ENABLE_CONNECT_PROTOCOL = 0x8

HEADER = struct.Struct(">HBBBL")
"""Length (16 high bits, 8 low bits), type, flags, stream."""

_SETTING = struct.Struct(">HL")
_WORD = struct.Struct(">L")
_TWO_WORDS = struct.Struct(">LL")

SETTINGS_ACK = HEADER.pack(0, 0, SETTINGS, ACK, 0)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """A whole frame."""
    length = len(payload)
    return HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id) + payload


def rst_stream(stream_id: int, code: int) -> bytes:
    """RST_STREAM (6.4)."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE (6.9)."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(increment))


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """GOAWAY (6.8)."""
    return frame(GOAWAY, 0, 0, _TWO_WORDS.pack(last_stream_id, code) + debug)


def settings(values: list[tuple[int, int]]) -> bytes:
    """SETTINGS (6.5)."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*pair) for pair in values]))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The pairs of a SETTINGS payload, whose length is a multiple of six."""
    return list(_SETTING.iter_unpack(payload))


def headers(stream_id: int, block: bytes, max_frame_size: int, *, end_stream: bool) -> bytes:
    """HEADERS, and CONTINUATION frames for what does not fit into it (6.2, 6.10)."""
    flag = END_STREAM if end_stream else 0
    length = len(block)
    if length <= max_frame_size:
        return HEADER.pack(length >> 8, length & 0xFF, HEADERS, END_HEADERS | flag, stream_id) + block
    parts = [frame(HEADERS, flag, stream_id, block[:max_frame_size])]
    for start in range(max_frame_size, length, max_frame_size):
        last = END_HEADERS if start + max_frame_size >= length else 0
        parts.append(frame(CONTINUATION, last, stream_id, block[start : start + max_frame_size]))
    return b"".join(parts)
