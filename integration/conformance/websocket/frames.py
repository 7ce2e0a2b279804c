"""Frames of RFC 6455, right and wrong, as a client sends them. Pure."""

from __future__ import annotations

import zlib
from itertools import cycle

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = bytes([0x37, 0xFA, 0x21, 0x3D])


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bytes = MASK) -> bytes:
    """One frame (5.2). ``reserved`` is RSV1 to RSV3 as a number below 8; an empty ``mask`` leaves the payload unmasked."""
    first = (fin << 7) | (reserved << 4) | opcode
    masked = 0x80 if mask else 0
    body = bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False)) if mask else payload
    return bytes([first]) + _length(len(payload), masked) + mask + body


def _length(length: int, masked: int) -> bytes:
    if length < 126:
        return bytes([masked | length])
    if length < 65536:
        return bytes([masked | 126]) + length.to_bytes(2, "big")
    return bytes([masked | 127]) + length.to_bytes(8, "big")


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A close frame (5.5.1), without a code if that is None."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def deflated(payload: bytes) -> bytes:
    """A text message under permessage-deflate (RFC 7692, 7.2.1)."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(TEXT, packed.removesuffix(b"\x00\x00\xff\xff"), reserved=4)


def fragments(opcode: int, *parts: bytes) -> bytes:
    """One message in several frames (5.4)."""
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if number else opcode, part, fin=number == last) for number, part in enumerate(parts)
    )
