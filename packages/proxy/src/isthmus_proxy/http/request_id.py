"""``x-request-id`` values: random UUIDs of version 4 (RFC 9562, 5.4)."""

from __future__ import annotations

from collections.abc import Callable

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def request_id(getrandbits: Callable[[int], int]) -> bytes:
    """A new identifier, such as ``37c6004d-53fc-4892-b523-c49959e495d9``; its randomness is ``getrandbits``."""
    digits = getrandbits(128).to_bytes(16, "big").hex()
    group = _VARIANT[digits[16]] + digits[17:20]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{group}-{digits[20:]}".encode()
