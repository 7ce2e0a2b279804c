"""``x-request-id`` values: random UUIDs of version 4 (RFC 9562, 5.4)."""

from __future__ import annotations

from collections.abc import Callable


def request_id(getrandbits: Callable[[int], int]) -> bytes:
    """A new identifier, such as ``37c6004d-53fc-4892-b523-c49959e495d9``; its randomness is ``getrandbits``."""
    bits = getrandbits(122)
    return b"%08x-%04x-4%03x-%04x-%012x" % (
        bits >> 90,
        bits >> 74 & 0xFFFF,
        bits >> 62 & 0xFFF,
        bits >> 48 & 0x3FFF | 0x8000,
        bits & 0xFFFFFFFFFFFF,
    )
