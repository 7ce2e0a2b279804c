"""How large a head may be (Envoy's max_request_headers_kb and max_headers_count)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """``max_bytes`` counts a head from its first byte to its empty line, both included; ``max_headers`` its field lines.

    ``underscores`` is what to do with a field name that has one: ALLOW, REJECT_REQUEST or DROP_HEADER. ``key_format`` says
    whether the spelling of field names is remembered (``spelling``).
    """

    max_bytes: int = 60 * 1024
    max_headers: int = 100
    underscores: str = "ALLOW"
    key_format: str = ""


REQUEST_LIMITS = HeadLimits()
RESPONSE_LIMITS = HeadLimits(max_bytes=80 * 1024)
