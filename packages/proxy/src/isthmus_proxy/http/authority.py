"""The authority as routes see it: its port and trailing dot removed where the connection manager says so. Pure."""

from __future__ import annotations

import re

_PORT = re.compile(rb":(\d{1,5})\Z")

KEEP_PORT, MATCHING_PORT, ANY_PORT = "", "matching", "any"


def stripped(authority: bytes, *, port: str, local_port: int, trailing_dot: bool) -> bytes:
    """``authority`` without its port, if ``port`` is ``any``, or ``matching`` and it is ``local_port``; and without the dot
    at the end of its host, if ``trailing_dot``."""
    found = _PORT.search(authority)
    host, suffix = (authority[: found.start()], found[0]) if found else (authority, b"")
    if trailing_dot and host.endswith(b"."):
        host = host[:-1]
    if found and (port == ANY_PORT or (port == MATCHING_PORT and int(found[1]) == local_port)):
        suffix = b""
    return host + suffix
