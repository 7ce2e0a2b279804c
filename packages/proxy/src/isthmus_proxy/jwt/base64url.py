"""Base64url as tokens have it (RFC 7515, 2): no padding, no white space, nothing outside of the alphabet."""

from __future__ import annotations

import base64
import re

_WELL_FORMED = re.compile(rb"[A-Za-z0-9_-]*")


def decode(text: bytes) -> bytes | None:
    """The bytes of ``text``; None if it is not well-formed."""
    if len(text) % 4 == 1 or _WELL_FORMED.fullmatch(text) is None:
        return None
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def encode(data: bytes) -> bytes:
    """``data`` without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
